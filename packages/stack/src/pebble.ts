/** A real ACME certificate authority on loopback (pebble), with a DNS server that answers what it is told. */
import { writeFileSync } from "node:fs";
import { get } from "node:https";
import { join } from "node:path";
import { failureOf } from "@chom/shared/failure/failure";
import { createCa, issueCertificate } from "./certificates.ts";
import { type Child, startChild, waitUntilReady } from "./child-process.ts";
import { freePorts } from "./free-port.ts";
import { onExit } from "./on-exit.ts";
import { resolvePebble } from "./pebble-binary.ts";
import { type Progress, silent } from "./progress.ts";
import { scratchFolder } from "./scratch-folder.ts";

export type PebbleOptions = {
  /** Percent of good nonces that are refused all the same, as a real CA may; default 5. */
  nonceRejectPercent?: number;
  /** Names that orders are refused for (`rejectedIdentifier`). */
  blockedDomains?: readonly string[];
  /** Port that HTTP-01 is checked at; default 80. */
  httpPort?: number;
  progress?: Progress;
};

export type Pebble = {
  directoryUrl: string;
  /** PEM of the authority that signed pebble's own HTTPS certificate: trust it to reach the directory. */
  ca: string;
  /** PEM of the root that signs what is issued; another one after every start. */
  issuerRoot: () => Promise<string>;
  /** Adds an address record (A or AAAA); several addresses of a name add up. */
  addAddress: (domain: string, ip: string) => Promise<void>;
  /** Removes all address records of a name. */
  removeAddress: (domain: string) => Promise<void>;
  /** `127.0.0.1:<port>` of the DNS server that pebble asks, UDP and TCP. */
  dnsAddress: string;
  /** The end of its log. */
  log: () => string;
  /** Idempotent. */
  stop: () => Promise<void>;
};

const daySeconds = 86_400;

/**
 * Starts pebble and its DNS server. Challenges are really checked, authorizations never reused; profiles are
 * `default` (90 days) and `shortlived` (6 days): name one in every order, or pebble picks any.
 */
export async function startPebble(options: PebbleOptions = {}): Promise<Pebble> {
  const programs = await resolvePebble(options.progress ?? silent);
  const scratch = scratchFolder("pebble");
  const [acme, manage, dns, dnsManage] = (await freePorts(4)).map(
    (port) => `127.0.0.1:${port}`,
  ) as [string, string, string, string];
  const children: Child[] = [];
  const stop = async () => {
    takeBack();
    await Promise.all(children.map((child) => child.stop()));
    scratch.remove();
  };
  const takeBack = onExit(stop);
  try {
    const ca = await writeConfig(scratch.path, { ...options, acme, manage });
    const none = ["http01", "https01", "tlsalpn01", "doh", "defaultIPv4", "defaultIPv6"];
    const names = startChild(programs.dns, [
      ...["-dnsserver", dns, "-management", dnsManage],
      ...none.flatMap((name) => [`-${name}`, ""]),
    ]);
    children.push(names);
    const config = join(scratch.path, "pebble.json");
    const authority = startChild(
      programs.pebble,
      ["-strict", "-config", config, "-dnsserver", dns],
      {
        env: {
          PEBBLE_VA_NOSLEEP: "1",
          PEBBLE_VA_ALWAYS_VALID: "0",
          PEBBLE_WFE_NONCEREJECT: String(options.nonceRejectPercent ?? 5),
          PEBBLE_AUTHZREUSE: "0",
        },
      },
    );
    children.push(authority);
    const directoryUrl = `https://${acme}/dir`;
    const isUp = (work: Promise<unknown>) =>
      work.then(
        () => true,
        () => false,
      );
    await waitUntilReady("pebble", authority, () => isUp(fetchText(directoryUrl, ca)));
    const clear = () => isUp(tell(dnsManage, "clear-a", { host: "nobody.test." }));
    await waitUntilReady("pebble-challtestsrv", names, clear);
    return {
      directoryUrl,
      ca,
      issuerRoot: () => fetchText(`https://${manage}/roots/0`, ca),
      addAddress: (domain, ip) =>
        tell(dnsManage, ip.includes(":") ? "add-aaaa" : "add-a", {
          host: `${domain}.`,
          addresses: [ip],
        }),
      removeAddress: async (domain) => {
        await tell(dnsManage, "clear-a", { host: `${domain}.` });
        await tell(dnsManage, "clear-aaaa", { host: `${domain}.` });
      },
      dnsAddress: dns,
      log: () => authority.log(),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Debian's package brings no certificate for pebble's own endpoints, so they get one of a fresh CA. */
async function writeConfig(
  folder: string,
  options: PebbleOptions & { acme: string; manage: string },
): Promise<string> {
  const ca = await createCa("ACME test endpoint");
  const own = await issueCertificate(ca, {
    commonName: "pebble",
    dnsNames: ["localhost"],
    ipAddresses: ["127.0.0.1"],
  });
  const [certificate, privateKey] = [join(folder, "own.crt"), join(folder, "own.key")];
  writeFileSync(certificate, own.certPem);
  writeFileSync(privateKey, own.keyPem, { mode: 0o600 });
  const pebble = {
    listenAddress: options.acme,
    managementListenAddress: options.manage,
    certificate,
    privateKey,
    httpPort: options.httpPort ?? 80,
    tlsPort: 443,
    ocspResponderURL: "",
    externalAccountBindingRequired: false,
    domainBlocklist: options.blockedDomains ?? [],
    retryAfter: { authz: 1, order: 1 },
    profiles: {
      default: { description: "90 days", validityPeriod: 90 * daySeconds },
      shortlived: { description: "6 days", validityPeriod: 6 * daySeconds },
    },
  };
  writeFileSync(join(folder, "pebble.json"), JSON.stringify({ pebble }));
  return ca.certPem;
}

function fetchText(url: string, ca: string): Promise<string> {
  return new Promise((done, refuse) => {
    // Pebble refuses requests that do not say who asks, as RFC 8555 section 6.1 wants.
    const headers = { "user-agent": "chom-stack" };
    const request = get(url, { ca, headers, agent: false, timeout: 5_000 }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (part: string) => {
        text += part;
      });
      answer.on("error", refuse).on("end", () => {
        if (answer.statusCode === 200) done(text);
        else refuse(failureOf("acme-server", `${url} answered ${answer.statusCode}`));
      });
    });
    request.on("timeout", () => request.destroy(new Error("timeout"))).on("error", refuse);
  });
}

async function tell(address: string, verb: string, body: object): Promise<void> {
  const answer = await fetch(`http://${address}/${verb}`, {
    method: "POST",
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(5_000),
  });
  if (!answer.ok)
    throw failureOf("unexpected", `the test DNS server refused ${verb}: ${answer.status}`);
}
