/** `chom cert …` and `chom key …`: certificates of sites, keys of servers. */
import { RotateKeyResponse } from "@chom/proto/chom/credentials/v1/credentials";
import {
  Certificate,
  IssueCertificateResponse,
  RenewCertificateResponse,
} from "@chom/proto/chom/ssl/v1/ssl";
import type { Command } from "commander";
import {
  afterStart,
  allPages,
  connected,
  contextOption,
  type JobOptions,
  leaf,
  requestIdOf,
  startsJob,
  wholeNumber,
} from "./command.ts";
import { type Column, time, word } from "./output.ts";

const columns: readonly Column<Certificate>[] = [
  ["site", ({ siteId }) => siteId],
  ["domain", ({ domain }) => domain],
  ["status", ({ status }) => word(status)],
  ["valid until", ({ notAfter }) => time(notAfter)],
  ["renews", ({ renewAt }) => time(renewAt)],
  ["reason", ({ reason }) => reason],
];
const details: readonly Column<Certificate>[] = [
  ...columns,
  ["issuer", ({ issuer }) => issuer],
  ["serial", ({ serial }) => serial],
  ["valid from", ({ notBefore }) => time(notBefore)],
  ["server", ({ serverId }) => serverId],
];

/** Adds the group `cert` to the program. */
export function certificateCommands(program: Command): void {
  const cert = program.command("cert").description("certificates of sites");
  startsJob(
    leaf(
      cert,
      "issue <site-id>",
      "Ask the CA for a certificate and install it.",
      "chom cert issue 0v9…",
    ),
  )
    .addOption(contextOption())
    .action((siteId: string, options: JobOptions) =>
      connected(options, async (session) => {
        const wish = { requestId: requestIdOf(options), siteId, reason: options.reason ?? "" };
        const answer = await session.clients.ssl().issueCertificate(wish);
        return afterStart(session, options, answer, IssueCertificateResponse.toJSON);
      }),
    );
  startsJob(
    leaf(
      cert,
      "renew <site-id>",
      "Renew a certificate that is due.",
      "chom cert renew 0v9… --force",
    ),
  )
    .addOption(contextOption())
    .option("--force", "renew although it is not due")
    .action((siteId: string, options: JobOptions & { force?: boolean }) =>
      connected(options, async (session) => {
        const { force = false, reason = "" } = options;
        const wish = { requestId: requestIdOf(options), siteId, force, reason };
        const answer = await session.clients.ssl().renewCertificate(wish);
        return afterStart(session, options, answer, RenewCertificateResponse.toJSON);
      }),
    );
  leaf(cert, "list", "List the certificates.", "chom cert list --json")
    .addOption(contextOption())
    .option("--limit <n>", "at most so many", wholeNumber, 500)
    .action((options: { json?: boolean; limit: number }) =>
      connected(options, async ({ clients, output }) => {
        const rows = await allPages(options.limit, async (pageToken, pageSize) => {
          const page = await clients
            .ssl()
            .listCertificates({ pageSize, pageToken, minPosition: 0n });
          return { rows: page.certificates, nextPageToken: page.nextPageToken };
        });
        output.many(rows, columns, Certificate.toJSON);
      }),
    );
  leaf(cert, "show <site-id>", "Show the certificate of a site.", "chom cert show 0v9…")
    .addOption(contextOption())
    .action((siteId: string, options: { json?: boolean }) =>
      connected(options, async ({ clients, output }) => {
        const answer = await clients.ssl().getCertificate({ siteId, minPosition: 0n });
        output.one(Certificate.fromPartial(answer.certificate ?? {}), details, Certificate.toJSON);
      }),
    );
}

/** Adds the group `key` to the program. */
export function keyCommands(program: Command): void {
  const key = program.command("key").description("SSH keys of servers");
  startsJob(
    leaf(
      key,
      "rotate <server-id>",
      "Make a new key, prove it with a fresh login, promote it, and retire the old one later.",
      `
chom key rotate 0v7…
chom key rotate 0v7… --overlap-seconds -1 --reason "the key was exposed"`,
    ),
  )
    .addOption(contextOption())
    .option(
      "--overlap-seconds <n>",
      "how long the old key stays accepted; -1 for none",
      wholeNumber,
      86_400,
    )
    .action((serverId: string, options: JobOptions & { overlapSeconds: number }) =>
      connected(options, async (session) => {
        const answer = await session.clients.credentials().rotateKey({
          ...{ requestId: requestIdOf(options), serverId, reason: options.reason ?? "" },
          overlapSeconds: BigInt(options.overlapSeconds),
        });
        return afterStart(session, options, answer, RotateKeyResponse.toJSON);
      }),
    );
}
