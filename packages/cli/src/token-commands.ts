/** `chom token create|list|revoke`: credentials for programs. */
import {
  ApiToken,
  CreateTokenResponse,
  RevokeTokenResponse,
} from "@chom/proto/chom/credentials/v1/tokens";
import type { Command } from "commander";
import {
  allPages,
  collect,
  connected,
  contextOption,
  groupOf,
  leaf,
  requestIdOf,
  wholeNumber,
} from "./command.ts";
import { type Column, time } from "./output.ts";

const stateOf = ({ revokedAt, revokedBy, expiresAt }: ApiToken): string => {
  if (revokedAt) return `revoked ${time(revokedAt)} by ${revokedBy}`;
  return expiresAt && expiresAt.getTime() <= Date.now() ? "expired" : "active";
};
const columns: readonly Column<ApiToken>[] = [
  ["id", ({ tokenId }) => tokenId],
  ["name", ({ name }) => name],
  ["may", ({ role, permissions }) => [role, ...permissions].filter(Boolean).join(" ")],
  ["by", ({ createdBy }) => createdBy],
  ["expires", ({ expiresAt }) => time(expiresAt)],
  ["last used", ({ lastUsedAt }) => time(lastUsedAt)],
  ["state", stateOf],
];

type Common = { json?: boolean };
type CreateOptions = Common & {
  requestId?: string;
  name: string;
  role: string;
  permission?: readonly string[];
  days: number;
};

const roleHelp = `
Roles, each with all of the one before:
  viewer    looks, changes nothing, sees no secret
  operator  starts, retries and cancels work that takes nothing away
  admin     also restores, removes, registers servers, and makes tokens
  owner     also what nobody can take back`;

/** Adds the group `token`. */
export function tokenCommands(program: Command): void {
  const token = groupOf(program, "token", "credentials for programs that call CHOM");
  leaf(
    token,
    "create",
    "Make a token that may do at most what you may. It is shown once and kept nowhere.",
    `
chom token create --name ci --role operator --days 30 > ci.token
chom token create --name backups --permission backup.create --permission backup.read
chom token create --name dashboard --role viewer --json | jq -r .token`,
  )
    .addHelpText("after", roleHelp)
    .addOption(contextOption())
    .requiredOption("--name <text>", "what it is for")
    .option("--role <role>", "viewer, operator, admin or owner", "")
    .option("--permission <name>", "a single permission; may repeat", collect)
    .option("--days <n>", "expires after so many days, at most 366", wholeNumber, 90)
    .option("--request-id <id>", "your own id of the request")
    .action((options: CreateOptions) =>
      connected(options, async ({ clients, output }) => {
        const { name, role, permission = [], days } = options;
        const requestId = requestIdOf(options);
        const request = { requestId, name, role, permissions: [...permission], days };
        const answer = await clients.tokens().createToken(request);
        if (output.json) return output.one(answer, [], CreateTokenResponse.toJSON);
        // Past the scrubber: this is the one place where a token is meant to be seen.
        process.stdout.write(`${answer.token}\n`);
        const { tokenId = "", expiresAt } = answer.apiToken ?? {};
        output.note(`${tokenId} expires ${time(expiresAt)}; this was the only time it is shown`);
      }),
    );
  leaf(
    token,
    "list",
    "List tokens, newest first: who made them, what they may, when they were used last.",
    `
chom token list
chom token list --all --json | jq -r '.[] | select(.lastUsedAt == null) | .tokenId'`,
  )
    .addOption(contextOption())
    .option("--all", "also those that are revoked or expired", false)
    .option("--limit <n>", "at most so many", wholeNumber, 500)
    .action((options: Common & { all: boolean; limit: number }) =>
      connected(options, async ({ clients, output }) => {
        const rows = await allPages(options.limit, async (pageToken, pageSize) => {
          const request = { pageSize, pageToken, minPosition: 0n, includeEnded: options.all };
          const page = await clients.tokens().listTokens(request);
          return { rows: page.tokens, nextPageToken: page.nextPageToken };
        });
        output.many(rows, columns, ApiToken.toJSON);
      }),
    );
  leaf(
    token,
    "revoke <token-id>",
    "End a token: every service refuses it within a few seconds.",
    'chom token revoke 7k3… --reason "left in a log"',
  )
    .addOption(contextOption())
    .option("--reason <text>", "why, for the audit", "")
    .action((tokenId: string, options: Common & { reason: string }) =>
      connected(options, async ({ clients, output }) => {
        const answer = await clients.tokens().revokeToken({ tokenId, reason: options.reason });
        output.one(answer, [["revoked", () => tokenId]], RevokeTokenResponse.toJSON);
      }),
    );
}
