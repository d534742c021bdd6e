/** `chom server …`: servers that CHOM may log in to. */
import { readFileSync } from "node:fs";
import { RegisterServerResponse, Server } from "@chom/proto/chom/credentials/v1/credentials";
import type { Command } from "commander";
import {
  allPages,
  collect,
  connected,
  contextOption,
  leaf,
  requestIdOf,
  type Session,
  wholeNumber,
} from "./command.ts";
import { type Column, time, word } from "./output.ts";
import { askSecret, secretFrom } from "./secret-input.ts";

const columns: readonly Column<Server>[] = [
  ["id", ({ serverId }) => serverId],
  ["name", ({ name }) => name],
  [
    "address",
    ({ address, port }) => (address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`),
  ],
  ["user", ({ user }) => user],
  ["status", ({ status }) => word(status)],
  ["registered", ({ registeredAt }) => time(registeredAt)],
];
const details: readonly Column<Server>[] = [
  ...columns,
  ["rotated", ({ rotatedAt }) => time(rotatedAt)],
  ["host keys", ({ hostKeys }) => hostKeys.join("\n")],
  ["keys", ({ keys }) => keys.map((key) => `${word(key.status)} ${key.fingerprint}`).join("\n")],
];

/** InstallKey waits for a fresh login. */
const installMs = 60_000;

type InstallOptions = { passwordFile?: string; privateKeyFile?: string; askPassword?: boolean };

const installable = (command: Command): Command =>
  command
    .option("--password-file <file>", "one-time password of the account; - reads stdin")
    .option("--ask-password", "ask for the one-time password without echo")
    .option("--private-key-file <file>", "private key that opens the account now; - reads stdin");

async function install({ clients, output }: Session, serverId: string, options: InstallOptions) {
  const { passwordFile, privateKeyFile, askPassword } = options;
  const password = passwordFile
    ? secretFrom(passwordFile)
    : askPassword
      ? await askSecret("one-time password")
      : undefined;
  const privateKey = privateKeyFile ? secretFrom(privateKeyFile) : undefined;
  await clients.credentials().installKey(
    {
      serverId,
      oneTimePassword: password?.reveal() ?? "",
      oneTimePrivateKey: privateKey?.reveal() ?? "",
    },
    { deadlineMs: installMs },
  );
  output.note("a login with the new key succeeded; the one-time credential was not kept");
}

type AddOptions = InstallOptions & {
  json?: boolean;
  requestId?: string;
  name: string;
  address: string;
  port: number;
  user: string;
  hostKey?: readonly string[];
  hostKeysFile?: string;
};

async function add(session: Session, options: AddOptions): Promise<void> {
  const { name, address, port, user, hostKey = [], hostKeysFile } = options;
  const lines = hostKeysFile ? readFileSync(hostKeysFile, "utf8").split("\n") : [];
  // ssh-keyscan writes the host before the key, and comments.
  const scanned = lines
    .filter((line) => line.trim() !== "" && !line.startsWith("#"))
    .map((line) => line.trim().split(/\s+/).slice(-2).join(" "));
  const answer = await session.clients.credentials().registerServer({
    ...{ requestId: requestIdOf(options), name, address, port, user },
    hostKeys: [...hostKey, ...scanned],
  });
  if (options.passwordFile || options.askPassword || options.privateKeyFile) {
    await install(session, answer.serverId, options);
  } else
    session.output.note(
      `put the key into authorized_keys, then: chom server install ${answer.serverId}`,
    );
  session.output.one(
    answer,
    [
      ["server", ({ serverId }) => serverId],
      ["authorized key", ({ authorizedKey }) => authorizedKey],
    ],
    RegisterServerResponse.toJSON,
  );
}

/** Adds the group to the program. */
export function serverCommands(program: Command): void {
  const server = program.command("server").description("servers that CHOM may log in to");
  installable(
    leaf(
      server,
      "add",
      "Register a server with its pinned host keys.",
      `
ssh-keyscan -t ed25519 203.0.113.5 > host.keys   # compare with what the provider shows
chom server add --name web-1 --address 203.0.113.5 --host-keys-file host.keys --ask-password
chom server add --name web-2 --address 203.0.113.6 --host-key "ssh-ed25519 AAAA…"`,
    ),
  )
    .addOption(contextOption())
    .requiredOption("--name <name>", "1 to 63 letters, digits and dashes")
    .requiredOption("--address <address>", "IPv4, IPv6 or host name")
    .option("--port <port>", "SSH port", wholeNumber, 22)
    .option("--user <user>", "account: root, or one with password-less sudo", "chom")
    .option("--host-key <key>", 'pinned host key, "ssh-ed25519 AAAA…"; may repeat', collect)
    .option("--host-keys-file <file>", "pinned host keys as ssh-keyscan prints them")
    .option("--request-id <id>", "your own id of the request: repeating it is safe")
    .action((options: AddOptions) => connected(options, (session) => add(session, options)));
  installable(
    leaf(
      server,
      "install <server-id>",
      "Install the server's key with a one-time credential, or check that it was installed.",
      `
chom server install 0v7… --ask-password
pass show web-1 | chom server install 0v7… --password-file -
chom server install 0v7…          # you put the key there yourself`,
    ),
  )
    .addOption(contextOption())
    .action((serverId: string, options: InstallOptions & { json?: boolean }) =>
      connected(options, async (session) => {
        await install(session, serverId, options);
        session.output.one({ serverId }, [["server", (row) => row.serverId]], (row) => row);
      }),
    );
  leaf(
    server,
    "list",
    "List the servers.",
    "chom server list\nchom server list --json | jq -r '.[].address'",
  )
    .addOption(contextOption())
    .option("--limit <n>", "at most so many", wholeNumber, 500)
    .action((options: { json?: boolean; limit: number }) =>
      connected(options, async ({ clients, output }) => {
        const rows = await allPages(options.limit, async (pageToken, pageSize) => {
          const page = await clients
            .credentials()
            .listServers({ pageSize, pageToken, minPosition: 0n });
          return { rows: page.servers, nextPageToken: page.nextPageToken };
        });
        output.many(rows, columns, Server.toJSON);
      }),
    );
  leaf(server, "show <server-id>", "Show one server and its keys.", "chom server show 0v7…")
    .addOption(contextOption())
    .action((serverId: string, options: { json?: boolean }) =>
      connected(options, async ({ clients, output }) => {
        const answer = await clients.credentials().getServer({ serverId, minPosition: 0n });
        output.one(Server.fromPartial(answer.server ?? {}), details, Server.toJSON);
      }),
    );
}
