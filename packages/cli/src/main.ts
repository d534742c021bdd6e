#!/usr/bin/env node
/** `chom`: the operator's and developer's command line, over the same API that the control plane uses. */
import { Command, CommanderError } from "commander";
import { alertCommands } from "./alert-commands.ts";
import { archiveCommands } from "./archive-commands.ts";
import { auditCommands } from "./audit-commands.ts";
import { backupCommands } from "./backup-commands.ts";
import { certificateCommands, keyCommands } from "./certificate-commands.ts";
import { cleanCommands } from "./clean-commands.ts";
import { databaseCommands } from "./database-commands.ts";
import { completionCommands } from "./completion.ts";
import { exitCodes, exitCodesHelp } from "./exit-codes.ts";
import { doctorCommands } from "./doctor-commands.ts";
import { projectionsCommands } from "./projections-commands.ts";
import { dispatchCommands } from "./dispatch-command.ts";
import { failedCommands } from "./failed-commands.ts";
import { flowCommands } from "./flow-commands.ts";
import { eventCommands, jobCommands } from "./job-commands.ts";
import { scheduleCommands } from "./schedule-commands.ts";
import { keysCommands } from "./keys-commands.ts";
import { queueCommands } from "./queue-commands.ts";
import { secretsCommands } from "./secrets-commands.ts";
import { serverCommands } from "./server-commands.ts";
import { siteCommands } from "./site-commands.ts";
import { systemCommands } from "./system-commands.ts";
import { tokenCommands } from "./token-commands.ts";
import { topologyCommands } from "./topology-commands.ts";
import { workCommands } from "./work-command.ts";

const intro = `
A first tour:
  chom server add --name web-1 --address 203.0.113.5 --host-keys-file host.keys --ask-password
  chom site provision --domain example.org --server <server-id> --kind wordpress --ssl
  chom backup create <site-id>
  chom job list --state failed
  chom events tail

Every command takes --json: one JSON document on stdout (NDJSON for streams), errors as JSON on stderr.
The context file (--context, CHOM_CONTEXT_FILE, default ~/.config/chom/context.json) says where the
services are and holds the path of your token:
  {"urls": {"provisioning": "host:port", …}, "caFile": "ca.pem", "tokenFile": "token"}`;

/** Read before parsing, because a command line that cannot be parsed has to be reported too. */
const wantsJson = process.argv.includes("--json");

function outputError(text: string, write: (text: string) => void): void {
  const message = text.trim().replace(/^error: /, "");
  write(wantsJson ? `${JSON.stringify({ error: { code: "usage", message } })}\n` : text);
}

const program = new Command("chom")
  .description("Servers, sites, backups, certificates and jobs of CHOM.")
  .addHelpText("after", `${intro}\n${exitCodesHelp}`)
  .showHelpAfterError(wantsJson ? false : "(add --help for how to use it)")
  .configureOutput({ outputError })
  // A command may have both options and subcommands: what follows a subcommand is its own.
  .enablePositionalOptions()
  .exitOverride();
for (const add of [
  serverCommands,
  siteCommands,
  backupCommands,
  databaseCommands,
  cleanCommands,
  secretsCommands,
  certificateCommands,
  keyCommands,
  dispatchCommands,
  flowCommands,
  jobCommands,
  failedCommands,
  alertCommands,
  auditCommands,
  archiveCommands,
  projectionsCommands,
  doctorCommands,
  scheduleCommands,
  eventCommands,
  queueCommands,
  tokenCommands,
  keysCommands,
  topologyCommands,
  systemCommands,
  workCommands,
  completionCommands,
]) {
  add(program);
}
// A reader such as head may leave early: that is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(exitCodes.ok);
});
/** Subcommands are made before the root knows what to do with their errors. */
function inherit(command: Command): void {
  for (const child of command.commands) {
    child.copyInheritedSettings(command);
    inherit(child);
  }
}
inherit(program);
try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  // Help that was asked for is no error; commander has printed everything already.
  process.exitCode = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
}
