/** `chom archive …`: the event log and its second copy in Postgres, compared and mended from each other. */
import {
  AcceptLogResponse,
  ArchiveFinding,
  type CheckResponse,
} from "@chom/proto/chom/operations/v1/archive";
import { jetstreamLog } from "@chom/shared/event-log/jetstream-log";
import { type LostEvent, whileReactorsPause, writeBack } from "@chom/shared/event-log/write-back";
import { topology } from "@chom/shared/topology/topology";
import type { Command } from "commander";
import { type BrokerOptions, broker, withBroker } from "./broker-options.ts";
import { type Common, connected, contextOption, groupOf, leaf, type Session } from "./command.ts";
import { confirmed, type Consent, environmentOption } from "./confirm.ts";
import { exitCodes } from "./exit-codes.ts";

type Options = Common & { reason: string };
type RepairOptions = Options & BrokerOptions & Consent;

const shown = ({ kind, subject, version, eventId, detail, repaired }: ArchiveFinding): string =>
  `${repaired ? "mended" : kind}  ${subject} ${version}  ${eventId}  ${detail}`;

/** Tells findings as they come; 1 when something is left to do. */
async function tell({ output }: Session, steps: AsyncIterable<CheckResponse>): Promise<number> {
  let last: CheckResponse | undefined;
  let open = 0;
  for await (const step of steps) {
    last = step;
    if (!step.finding) continue;
    if (!step.finding.repaired) open += 1;
    output.each(step.finding, shown, ArchiveFinding.toJSON);
  }
  if (!last?.done) {
    output.note("the comparison was cut short: nothing is known");
    return exitCodes.unavailable;
  }
  const verdict = open === 0 ? "the log and its archive agree" : `${open} differences are left`;
  output.note(`${last.compared} events compared: ${verdict}`);
  return open === 0 ? exitCodes.ok : exitCodes.failed;
}

async function* lostEvents({ clients }: Session, reason: string): AsyncIterable<LostEvent> {
  for await (const event of clients.archive().listMissing({ reason })) {
    yield { ...event, version: Number(event.version) };
  }
}

async function repair(session: Session, options: RepairOptions): Promise<number> {
  const { output } = session;
  const question = "Write back to the broker every event that it has lost?";
  await confirmed({ question, count: Infinity, environment: session.environment }, options);
  return withBroker("archivist", options, async (nats) => {
    let refused = 0;
    const { consumers } = topology({ replicas: 1 });
    const written = await whileReactorsPause(nats, consumers, () =>
      writeBack(jetstreamLog(nats), lostEvents(session, options.reason), (event, done) => {
        if (done === "refused") refused += 1;
        const { subject, version, eventId } = event;
        output.each(
          { done, subject, version, eventId },
          (row) => `${done}  ${row.subject} ${row.version}`,
          (row) => row,
        );
      }),
    );
    output.note(`${written} events were written back, ${refused} were refused`);
    return refused === 0 ? exitCodes.ok : exitCodes.failed;
  });
}

/** Adds the group `archive`. */
export function archiveCommands(program: Command): void {
  const archive = groupOf(program, "archive", "the event log and its second copy in Postgres");
  leaf(
    archive,
    "check",
    "Compare every event of the log with its archive; exits 1 when they differ.",
    "chom archive check",
  )
    .addOption(contextOption())
    .action((options: Common) =>
      connected(options, (session) => tell(session, session.clients.archive().check({}))),
    );
  leaf(
    archive,
    "complete",
    "Put into the archive what only the log has, and mend rows that were changed in the database.",
    "chom archive complete --reason 'a row was deleted by hand'",
  )
    .addOption(contextOption())
    .option("--reason <text>", "why, for the audit", "")
    .action((options: Options) =>
      connected(options, (session) =>
        tell(session, session.clients.archive().complete({ reason: options.reason })),
      ),
    );
  broker(
    leaf(
      archive,
      "repair",
      "Write back to the broker the events that it has lost, while nobody reacts; see docs/runbooks/event-log-damaged.md first.",
      "chom archive repair --nats-url nats://127.0.0.1:4222 --seed-file archivist.nk",
    ),
  )
    .addOption(contextOption())
    .option("--reason <text>", "why, for the audit", "")
    .option("--force", "do not ask")
    .addOption(environmentOption())
    .action((options: RepairOptions) => connected(options, (session) => repair(session, options)));
  leaf(
    archive,
    "accept-log",
    "Decide a dispute: the history goes on as the log has it; what the archive had beyond is set aside, for ever.",
    "chom archive accept-log evt.acme.site.s1",
  )
    .argument("<subject>", "the history, as `chom archive check` names it")
    .addOption(contextOption())
    .option("--reason <text>", "why, for the audit", "")
    .option("--force", "do not ask")
    .action((subject: string, options: Options & { force?: boolean }) =>
      connected(options, async ({ clients, output, environment }) => {
        const question = `Accept the log's story of ${subject}?`;
        await confirmed({ question, count: 1, environment }, options);
        const { reason } = options;
        const answer = await clients.archive().acceptLog({ subject, reason });
        output.one(
          answer,
          [
            ["set aside", ({ setAside }) => String(setAside)],
            ["archived", ({ archived }) => String(archived)],
          ],
          AcceptLogResponse.toJSON,
        );
      }),
    );
}
