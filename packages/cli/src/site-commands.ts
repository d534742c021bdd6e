/** `chom site …`: websites on servers. */
import {
  DeprovisionSiteResponse,
  ProvisionSiteResponse,
  RevealSiteSecretsResponse,
  Site,
  SiteKind,
} from "@chom/proto/chom/provisioning/v1/provisioning";
import type { Command } from "commander";
import {
  afterStart,
  allPages,
  connected,
  contextOption,
  type JobOptions,
  leaf,
  member,
  requestIdOf,
  startsJob,
  wholeNumber,
} from "./command.ts";
import { type Column, time, word } from "./output.ts";

const columns: readonly Column<Site>[] = [
  ["id", ({ siteId }) => siteId],
  ["domain", ({ domain }) => domain],
  ["kind", ({ kind }) => word(kind)],
  ["status", ({ status }) => word(status)],
  ["server", ({ serverId }) => serverId],
  ["created", ({ createdAt }) => time(createdAt)],
];
const details: readonly Column<Site>[] = [
  ...columns,
  ["php", ({ phpVersion }) => phpVersion],
  ["ssl", ({ sslEnabled }) => (sslEnabled ? "yes" : "no")],
  ["user", ({ systemUser }) => systemUser],
  ["root", ({ rootPath }) => rootPath],
  ["database", ({ databaseName }) => databaseName],
  ["failure", (site) => site.failureCode && `${site.failureMessage} (${site.failureCode})`],
];

type ProvisionOptions = JobOptions & {
  domain: string;
  server: string;
  kind: SiteKind;
  php: string;
  database?: boolean;
  ssl?: boolean;
  adminEmail: string;
};

function provisionCommand(site: Command): void {
  startsJob(
    leaf(
      site,
      "provision",
      "Put a site on a server.",
      `
chom site provision --domain example.org --server 0v7… --kind wordpress --ssl
chom site provision --domain static.example.org --server 0v7… --kind static --no-wait --json`,
    ),
  )
    .addOption(contextOption())
    .requiredOption("--domain <domain>", "fully qualified, lower case, A-labels")
    .requiredOption("--server <server-id>", "the server it goes on")
    .requiredOption("--kind <kind>", "static, php, wordpress or laravel", (text) =>
      member(SiteKind, text),
    )
    .option("--php <version>", "like 8.2; default the server's newest", "")
    .option("--database", "a database of its own (WordPress and Laravel always have one)")
    .option("--admin-email <address>", "of WordPress's first administrator", "")
    .option("--ssl", "ask for a certificate once the site is up")
    .action((options: ProvisionOptions) =>
      connected(options, async (session) => {
        const {
          domain,
          kind,
          php,
          database = false,
          ssl = false,
          reason = "",
          adminEmail,
        } = options;
        const answer = await session.clients.provisioning().provisionSite({
          ...{ requestId: requestIdOf(options), domain, serverId: options.server, kind },
          ...{ phpVersion: php, database, sslEnabled: ssl, reason, adminEmail },
        });
        session.output.note(`site ${answer.siteId}`);
        return afterStart(session, options, answer, ProvisionSiteResponse.toJSON);
      }),
    );
}

function secretsCommand(site: Command): void {
  leaf(
    site,
    "secrets <site-id>",
    "Show the passwords of a site's database and administrator.",
    "chom site secrets 0v9… --json | jq -r .adminPassword",
  )
    .addOption(contextOption())
    .action((siteId: string, options: { json?: boolean }) =>
      connected(options, async ({ clients, output }) => {
        const answer = await clients.provisioning().revealSiteSecrets({ siteId });
        output.one(
          answer,
          [
            ["database user", ({ databaseUser }) => databaseUser],
            ["database password", ({ databasePassword }) => databasePassword],
            ["admin user", ({ adminUser }) => adminUser],
            ["admin password", ({ adminPassword }) => adminPassword],
          ],
          RevealSiteSecretsResponse.toJSON,
        );
      }),
    );
}

/** Adds the group to the program. */
export function siteCommands(program: Command): void {
  const site = program.command("site").description("websites on servers");
  provisionCommand(site);
  leaf(site, "list", "List the sites.", "chom site list --server 0v7…")
    .addOption(contextOption())
    .option("--server <server-id>", "only on this server", "")
    .option("--limit <n>", "at most so many", wholeNumber, 500)
    .action((options: { json?: boolean; limit: number; server: string }) =>
      connected(options, async ({ clients, output }) => {
        const rows = await allPages(options.limit, async (pageToken, pageSize) => {
          const wish = { serverId: options.server, pageSize, pageToken, minPosition: 0n };
          const page = await clients.provisioning().listSites(wish);
          return { rows: page.sites, nextPageToken: page.nextPageToken };
        });
        output.many(rows, columns, Site.toJSON);
      }),
    );
  leaf(site, "show <site-id>", "Show one site.", "chom site show 0v9… --json")
    .addOption(contextOption())
    .action((siteId: string, options: { json?: boolean }) =>
      connected(options, async ({ clients, output }) => {
        const answer = await clients.provisioning().getSite({ siteId, minPosition: 0n });
        output.one(Site.fromPartial(answer.site ?? {}), details, Site.toJSON);
      }),
    );
  secretsCommand(site);
  startsJob(
    leaf(
      site,
      "remove <site-id>",
      "Take a site off its server. Its files go to quarantine.",
      'chom site remove 0v9… --yes --reason "the customer left"',
    ),
  )
    .addOption(contextOption())
    .requiredOption("--yes", "really: the site stops answering")
    .action((siteId: string, options: JobOptions) =>
      connected(options, async (session) => {
        const answer = await session.clients.provisioning().deprovisionSite({
          ...{ requestId: requestIdOf(options), siteId, reason: options.reason ?? "" },
        });
        return afterStart(session, options, answer, DeprovisionSiteResponse.toJSON);
      }),
    );
}
