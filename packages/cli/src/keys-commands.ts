/** `chom keys status|rotate-root|rotate-tenant` and `chom tenant erase`: the keys under everything that is sealed. */
import {
  EraseTenantResponse,
  GetKeyStatusResponse,
  type InUse,
  PreviewErasureResponse,
  RotateTenantKeyResponse,
} from "@chom/proto/chom/credentials/v1/keys";
import type { Command } from "commander";
import { connected, contextOption, groupOf, leaf, type Session, wholeNumber } from "./command.ts";
import { type Consent, confirmed, environmentOption } from "./confirm.ts";
import { time } from "./output.ts";

type Common = { json?: boolean; context?: string };

/** What is still to be done with a root; what it sealed before tenants had keys cannot be counted here. */
const verdictOf = (root: string, keys: bigint, newest: string): string => {
  if (root === newest) return "wraps new keys";
  return keys > 0n ? "needed: chom keys rotate-root" : "wraps nothing";
};

async function showStatus({ clients, output }: Session): Promise<void> {
  const answer = await clients.keys().getKeyStatus({});
  const known = answer.roots.some(({ root }) => root === answer.newestRoot);
  const newest = { root: answer.newestRoot, keys: 0n };
  const roots = known ? answer.roots : [newest, ...answer.roots];
  if (output.json) return output.one(answer, [], GetKeyStatusResponse.toJSON);
  output.many(
    roots,
    [
      ["root", ({ root }) => root],
      ["keys", ({ keys }) => String(keys)],
      ["", ({ root, keys }) => verdictOf(root, keys, answer.newestRoot)],
    ],
    (row) => row,
  );
  output.note(`${answer.tenants} tenants have keys, ${answer.erasedTenants} are erased`);
  if (answer.roots.every(({ root }) => root === answer.newestRoot)) {
    output.note(
      "no older root wraps a key; it may go once no text from before tenants' keys is needed",
    );
  }
}

async function rotateRoot({ clients, output }: Session, pageSize: number): Promise<void> {
  let rewrapped = 0n;
  for (;;) {
    const page = await clients.keys().rewrapKeys({ pageSize }, { deadlineMs: 60_000 });
    rewrapped += page.rewrapped;
    if (page.remaining > 0n && page.rewrapped > 0n) {
      output.note(`${rewrapped} keys wrapped with ${page.newestRoot}, ${page.remaining} to go`);
      continue;
    }
    const { newestRoot, remaining } = page;
    const done = { newestRoot, rewrapped: String(rewrapped), remaining: String(remaining) };
    return output.one(
      done,
      [
        ["root", (row) => row.newestRoot],
        ["wrapped anew", (row) => row.rewrapped],
        ["remaining", (row) => row.remaining],
      ],
      (row) => row,
    );
  }
}

const counted = (what: string, use: InUse | undefined): string[] => {
  if (!use || use.count === 0n) return [];
  const first = use.first.slice(0, 5).join(" ");
  const more = use.count > 5n ? " …" : "";
  return [`${use.count} ${what}, the newest of ${time(use.newestAt)}: ${first}${more}`];
};

type EraseOptions = Common &
  Consent & {
    dryRun?: boolean;
    althoughInUse?: boolean;
    reason: string;
  };

function showUse({ output }: Session, tenant: string, use: PreviewErasureResponse): void {
  output.note(`tenant ${tenant}: ${use.keyVersions} keys to destroy`);
  const left = [
    ...counted("sites", use.sites),
    ...counted("open jobs", use.jobs),
    ...counted("backups", use.backups),
  ];
  for (const line of left) output.note(`  still there: ${line}`);
  if ((use.backups?.count ?? 0n) > 0n) {
    output.note(
      "  backups are sealed for the backup identity, not with these keys: they stay readable",
    );
    output.note(
      "  until their folder of the vault is deleted by hand, at the latest when its locks end",
    );
  }
  output.note("ids, domains and names in clear, rows of lists and the audit remain");
}

async function erase(session: Session, tenant: string, options: EraseOptions): Promise<void> {
  const { clients, output } = session;
  const use = await clients.keys().previewErasure({ tenant }, { deadlineMs: 60_000 });
  if (use.erased) output.note(`tenant ${tenant} is erased already`);
  else showUse(session, tenant, use);
  if (options.dryRun) {
    if (output.json) output.one(use, [], PreviewErasureResponse.toJSON);
    return;
  }
  const question = `destroy all keys of tenant ${tenant}, for good?`;
  await confirmed({ question, count: Infinity, environment: session.environment }, options);
  const { althoughInUse = false, reason } = options;
  const answer = await clients
    .keys()
    .eraseTenant({ tenant, althoughInUse, reason }, { deadlineMs: 60_000 });
  output.one(
    answer,
    [
      ["erased", () => tenant],
      ["keys destroyed", ({ destroyedKeys }) => String(destroyedKeys)],
    ],
    EraseTenantResponse.toJSON,
  );
}

/** Adds the group `keys`. */
function rootCommands(program: Command): void {
  const keys = groupOf(program, "keys", "roots and tenants' keys of everything that is sealed");
  leaf(
    keys,
    "status",
    "Which root wraps how many keys of tenants, and which may go.",
    "chom keys status\nchom keys status --json | jq .roots",
  )
    .addOption(contextOption())
    .action((options: Common) => connected(options, showStatus));
  leaf(
    keys,
    "rotate-root",
    "Wrap tenants' keys with the newest root, after it was put in front of the others and the services were restarted.",
    "chom keys rotate-root   # may be broken off and repeated\nchom keys status",
  )
    .addOption(contextOption())
    .option("--page-size <n>", "tenants in one call, at most 500", wholeNumber, 100)
    .action((options: Common & { pageSize: number }) =>
      connected(options, (session) => rotateRoot(session, options.pageSize)),
    );
  leaf(
    keys,
    "rotate-tenant <tenant>",
    "Give a tenant a new key for what is sealed from now on; everything before still opens.",
    'chom keys rotate-tenant acme --reason "an administrator left"',
  )
    .addOption(contextOption())
    .option(
      "--from-version <n>",
      "only when this is the newest: then a repeat is safe",
      wholeNumber,
      0,
    )
    .option("--reason <text>", "why, for the audit", "")
    .action((tenant: string, options: Common & { fromVersion: number; reason: string }) =>
      connected(options, async ({ clients, output }) => {
        const { fromVersion, reason } = options;
        const answer = await clients.keys().rotateTenantKey({ tenant, fromVersion, reason });
        const columns = [
          ["version", (row: RotateTenantKeyResponse) => String(row.version)],
        ] as const;
        output.one(answer, columns, RotateTenantKeyResponse.toJSON);
      }),
    );
}

/** Adds the groups `keys` and `tenant`. */
export function keysCommands(program: Command): void {
  rootCommands(program);
  const tenant = groupOf(program, "tenant", "what concerns a tenant as a whole");
  leaf(
    tenant,
    "erase <tenant>",
    "Destroy all keys of a tenant: nothing that was sealed for it opens ever again.",
    `
chom tenant erase acme --dry-run
chom tenant erase acme --reason "contract ended, erasure asked for"
chom tenant erase acme --force --although-in-use --json`,
  )
    .addOption(contextOption())
    .option("--dry-run", "only show what is there")
    .option("--force", "do not ask; needed without a terminal")
    .addOption(environmentOption())
    .option("--although-in-use", "although it has sites, open jobs or backups")
    .option("--reason <text>", "why, for the audit", "")
    .action((name: string, options: EraseOptions) =>
      connected(options, (session) => erase(session, name, options)),
    );
}
