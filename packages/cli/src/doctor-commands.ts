/** `chom doctor`: asks every service what is wrong with it, compares their answers, and applies remedies when told to. */
import { type DiagnoseResponse, Finding } from "@chom/proto/chom/operations/v1/operations";
import { classify } from "@chom/shared/failure/failure";
import { skewOf } from "@chom/shared/service/doctor/broker-checks";
import type { Command } from "commander";
import { type Common, connected, contextOption, leaf, type Session } from "./command.ts";
import { confirmed } from "./confirm.ts";
import { exitCodes } from "./exit-codes.ts";
import { rebuildOf } from "./projections-commands.ts";

type Options = Common & { fix?: boolean; force?: boolean; reason: string };

/** A finding and the service that has it; "" for what concerns several. */
type Told = Finding & { readonly service: string };

const finding = (check: string, subject: string, more: Partial<Finding>): Told => ({
  ...{ service: "", check, subject, severity: "critical", message: "", remedy: "" },
  ...{ mendable: false, ...more },
});

/** What differs between services that should run alike. Pure. */
function compareVersions(answers: readonly DiagnoseResponse[]): Told[] {
  const differing = (what: "version" | "nodeVersion" | "natsVersion" | "postgresVersion") => {
    const seen = Map.groupBy(answers, (answer) => answer[what]);
    if (seen.size < 2) return [];
    const shown = [...seen].map(
      ([version, mine]) => `${version || "?"}: ${mine.map(({ service }) => service).join(", ")}`,
    );
    return [
      finding("mixed-versions", what, {
        severity: what === "version" ? "warning" : "info",
        message: `services run with different ones (${shown.join("; ")})`,
        remedy: "finish the upgrade: docs/upgrading.md",
      }),
    ];
  };
  return [
    ...differing("version"),
    ...differing("nodeVersion"),
    ...differing("natsVersion"),
    ...differing("postgresVersion"),
    ...answers
      .filter(({ nodeVersion }) => Number.parseInt(nodeVersion, 10) < 24)
      .map(({ service, nodeVersion }) =>
        finding("node-version", service, {
          message: `it runs on Node ${nodeVersion}, and needs 24 or newer`,
          remedy: "upgrade Node.js",
        }),
      ),
  ];
}

async function ask(session: Session): Promise<Told[]> {
  const { clients, output } = session;
  const found: Told[] = [];
  const answers: DiagnoseResponse[] = [];
  for (const service of clients.services) {
    const asked = new Date();
    try {
      const answer = await clients.operations(service).diagnose({}, { deadlineMs: 60_000 });
      answers.push(answer);
      found.push(...answer.findings.map((each) => ({ ...each, service })));
      if (answer.now) {
        // Checks take a while; the clock is read at the answer's end.
        const skew = skewOf(service, answer.now, new Date(), new Date());
        found.push(...skew.map((each) => finding("clock-service", service, each)));
      }
      output.note(`${service}: ${answer.checks.length} checks, ${answer.findings.length} findings`);
    } catch (error) {
      const { message } = classify(error);
      found.push(
        finding("service-unreachable", service, {
          message: `it did not answer within ${Date.now() - asked.getTime()} ms: ${message}`,
          remedy: "see that it runs and is healthy; docs/runbooks/service-absent.md",
        }),
      );
    }
  }
  return [...found, ...compareVersions(answers)];
}

const shown = ({ severity, service, check, subject, message, remedy, mendable }: Told): string =>
  [
    `${severity.toUpperCase().padEnd(8)} ${check} ${service && `${service}: `}${subject}`,
    `         ${message}`,
    `         ${mendable ? "remedy (--fix)" : "remedy"}: ${remedy}`,
  ].join("\n");

const jsonOf = ({ service, ...told }: Told) => ({ service, ...(Finding.toJSON(told) as object) });

/** Applies what can be applied, each finding at most once; answers how many could not be. */
async function fix(session: Session, found: readonly Told[], options: Options): Promise<number> {
  const { clients, output } = session;
  const mendable = found.filter(({ mendable: may }) => may);
  if (mendable.length === 0) return 0;
  const question = `Apply ${mendable.length} remedies?`;
  const { environment } = session;
  await confirmed({ question, count: mendable.length, environment }, options);
  let failed = 0;
  for (const { service, check, subject } of mendable) {
    try {
      // Positions were given to other events: whatever reads the log must read it again first.
      if (check === "event-log-loss") await rebuildEverything(session, options.reason);
      const wish = { check, subject, reason: options.reason || `chom doctor --fix: ${check}` };
      const { message } = await clients.operations(service).mend(wish, { deadlineMs: 60_000 });
      output.note(`${check} ${subject}: ${message}`);
    } catch (error) {
      failed += 1;
      output.note(`${check} ${subject}: not mended: ${classify(error).message}`);
    }
  }
  return failed;
}

async function rebuildEverything(session: Session, reason: string): Promise<void> {
  for (const service of session.clients.services) {
    await rebuildOf(session, service, { names: [], reason }, ({ name, rowsChanged }) =>
      session.output.note(`${service}/${name} was rebuilt: ${rowsChanged} rows differed`),
    );
  }
}

/** Adds `doctor`. */
export function doctorCommands(program: Command): void {
  leaf(
    program,
    "doctor",
    "Look for what is wrong with CHOM, say what it means and what to do; --fix does it. Exits 0 when nothing is wrong, 1 when something is (information does not count), 5 when a service does not answer.",
    "chom doctor\nchom doctor --json\nchom doctor --fix --force --reason 'after the restore'",
  )
    .addOption(contextOption())
    .option("--fix", "apply the remedies that can be applied, after asking")
    .option("--force", "with --fix: do not ask")
    .option("--reason <text>", "why, for the audit", "")
    .action((options: Options) =>
      connected(options, async (session) => {
        const { output } = session;
        let found = await ask(session);
        if (options.fix) {
          await fix(session, found, options);
          found = await ask(session);
        }
        if (output.json) output.many(found, [], jsonOf);
        else for (const each of found) output.each(each, shown, jsonOf);
        const wrong = found.filter(({ severity }) => severity !== "info");
        output.note(wrong.length === 0 ? "nothing is wrong" : `${wrong.length} things are wrong`);
        if (wrong.some(({ check }) => check === "service-unreachable")) {
          return exitCodes.unavailable;
        }
        return wrong.length === 0 ? exitCodes.ok : exitCodes.failed;
      }),
    );
}
