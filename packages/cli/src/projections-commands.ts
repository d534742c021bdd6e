/** `chom projections …`: the read models of every service, how far they are, and building them again. */
import {
  ProjectionState,
  RebuildProjectionsResponse,
} from "@chom/proto/chom/operations/v1/operations";
import { notFound } from "@chom/shared/failure/failure";
import { type Command, InvalidArgumentError } from "commander";
import { type Common, connected, contextOption, groupOf, leaf, type Session } from "./command.ts";
import type { Column } from "./output.ts";

type Row = ProjectionState & { readonly service: string };

const columns: readonly Column<Row>[] = [
  ["service", ({ service }) => service],
  ["name", ({ name }) => name],
  ["at", ({ stream, position, streamPosition }) => `${stream} ${position}/${streamPosition}`],
  ["stopped", ({ stoppedHistories }) => (stoppedHistories > 0 ? String(stoppedHistories) : "")],
  ["problem", ({ problem }) => problem],
];

/** Of every service that the context knows. */
async function allOf({ clients }: Session): Promise<Row[]> {
  const rows: Row[] = [];
  for (const service of clients.services) {
    const { projections } = await clients.operations(service).listProjections({});
    rows.push(...projections.map((state) => ({ ...state, service })));
  }
  return rows;
}

const result = ({ name, rowsChanged, rowsTotal }: RebuildProjectionsResponse): string =>
  `${name}: ${rowsTotal} rows, ${rowsChanged} of them were not as they should be`;

/** Rebuilds some of a service's read models, or all; tells each as it is done. */
export async function rebuildOf(
  { clients, output }: Session,
  service: string,
  wish: { names: string[]; reason: string },
  told: (done: RebuildProjectionsResponse) => void,
): Promise<void> {
  for await (const step of clients.operations(service).rebuildProjections(wish)) {
    const { name, phase, position, streamPosition } = step;
    if (phase === "done") told(step);
    else output.note(`${service}/${name}: ${phase} ${position}/${streamPosition}`);
  }
}

type RebuildOptions = Common & { all?: boolean; reason: string };

/** Adds the group `projections`. */
export function projectionsCommands(program: Command): void {
  const group = groupOf(program, "projections", "the read models of all services");
  leaf(group, "list", "List read models and how far each is.", "chom projections list")
    .addOption(contextOption())
    .action((options: Common) =>
      connected(options, async (session) => {
        session.output.many(await allOf(session), columns, ({ service, ...row }) => ({
          service,
          ...(ProjectionState.toJSON(row) as object),
        }));
      }),
    );
  leaf(
    group,
    "rebuild",
    "Build read models again beside the served ones and switch in one transaction; those that share tables go together.",
    "chom projections rebuild jobs\nchom projections rebuild --all",
  )
    .argument("[name]", "one read model, as `chom projections list` names it")
    .addOption(contextOption())
    .option("--all", "all read models of all services")
    .option("--reason <text>", "why, for the audit", "")
    .action((name: string | undefined, options: RebuildOptions) =>
      connected(options, async (session) => {
        if ((name === undefined) === (options.all !== true)) {
          throw new InvalidArgumentError("name one read model, or --all");
        }
        const { reason } = options;
        const rows = await allOf(session);
        const meant = rows.filter((row) => name === undefined || row.name === name);
        if (meant.length === 0) throw notFound("projection", name ?? "");
        for (const service of new Set(meant.map((row) => row.service))) {
          const names = name === undefined ? [] : [name];
          await rebuildOf(session, service, { names, reason }, (step) =>
            session.output.each(
              step,
              (done) => `${service}/${result(done)}`,
              (done) => ({
                service,
                ...(RebuildProjectionsResponse.toJSON(done) as object),
              }),
            ),
          );
        }
      }),
    );
}
