/** The certificate service: its settings and its cast. */
import { readFileSync } from "node:fs";
import { serve } from "@chom/shared/service/serve";
import { file, list, text, url } from "@chom/shared/service/settings";
import { loadAccountKey } from "./account-key.ts";
import { acmeClient } from "./acme/client.ts";
import { certificate } from "./certificate.ts";
import { nameServers } from "./dns-check.ts";
import { issueCertificate } from "./issue-certificate.ts";
import { certificateList } from "./projections.ts";
import { secureSites } from "./reactors.ts";
import { renewCertificate } from "./renew-certificate.ts";
import { renewalSweep } from "./renewals.ts";
import { sslRpc } from "./rpc.ts";
import { showCertificates } from "./show-certificates.ts";
import { siteFacts } from "./site-facts.ts";

const settings = {
  directoryUrl: url("CHOM_ACME_DIRECTORY_URL"),
  rootsFile: file("CHOM_ACME_CA_FILE", { fallback: undefined }),
  profile: text("CHOM_ACME_PROFILE", { fallback: "" }),
  contact: list("CHOM_ACME_CONTACT", { fallback: [] }),
  dnsServers: list("CHOM_DNS_SERVERS", { fallback: [] }),
};

await serve({
  name: "ssl",
  migrations: new URL("../migrations", import.meta.url),
  settings,
  cast: async (app, { directoryUrl, rootsFile, profile, contact, dnsServers }) => {
    showCertificates(app);
    const ca = acmeClient({
      directoryUrl,
      accountKey: await loadAccountKey(app, directoryUrl),
      contact,
      ...(rootsFile === undefined ? {} : { trustedRoots: readFileSync(rootsFile, "utf8") }),
    });
    const outside = {
      ca,
      dns: nameServers(dnsServers),
      profile,
      siteOf: async (tenant: string, id: string) => (await app.load(siteFacts, tenant, id)).state,
      certificateOf: async (tenant: string, id: string) =>
        (await app.load(certificate, tenant, id)).state,
    };
    const issue = issueCertificate(outside);
    const renew = renewCertificate(outside);
    return {
      jobs: [issue, renew],
      reactors: [secureSites(issue)],
      projections: [certificateList],
      rpc: [sslRpc(app, { issue, renew })],
      ticks: [renewalSweep(app, { ca, renew })],
      close: async () => ca.close(),
    };
  },
});
