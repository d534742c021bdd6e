/** Whether the read models follow their streams, and mending those that do not. */
import type { Database } from "../../projection/database.ts";
import type { EventLog } from "../../event-log/event-log.ts";
import { checkpointTables } from "../../projection/checkpoint-tables.ts";
import type { Projection } from "../../projection/projection.ts";
import type { Projector } from "../../projection/projector.ts";
import type { Diagnosis, DoctorCheck } from "./check.ts";

export type ProjectionParts = {
  readonly service: string;
  readonly db: Database;
  readonly log: EventLog;
  readonly projections: readonly Projection[];
  readonly projectors: readonly Projector[];
  /** Rebuilds a projection; answers how many rows were not as they should be. */
  readonly rebuild: (name: string) => Promise<number>;
};

const behindMax = 5_000;

const mendBy = (parts: ProjectionParts, name: string) => async (): Promise<string> =>
  `${name} was rebuilt: ${await parts.rebuild(name)} rows differed`;

const stoppedCheck = (parts: ProjectionParts): DoctorCheck => ({
  name: "projection-stopped",
  async run() {
    const { stops } = checkpointTables(parts.service);
    const rows = await parts.db.select().from(stops).limit(1_000);
    const names = [...new Set(rows.map(({ projection }) => projection))];
    return names.map((name) => {
      const mine = rows.filter(({ projection }) => projection === name);
      const [first] = mine;
      return {
        subject: name,
        severity: "critical",
        message: `it no longer follows ${mine.length} histories, like ${first?.subject} since ${first?.eventType} (${first?.code}: ${first?.message})`,
        remedy: "run a version that can read the event, then rebuild the read model",
        mend: mendBy(parts, name),
      } satisfies Diagnosis;
    });
  },
});

const haltedCheck = (parts: ProjectionParts): DoctorCheck => ({
  name: "projection-halted",
  run: async () =>
    parts.projectors.flatMap((projector): Diagnosis[] => {
      const failure = projector.failure();
      if (!failure) return [];
      return [
        {
          subject: projector.name,
          severity: "critical",
          message: `it stands still: ${failure.message}`,
          remedy: "if events are missing, `chom archive repair` first; then rebuild the read model",
          mend: mendBy(parts, projector.name),
        },
      ];
    }),
});

const behindCheck = ({ projectors, projections, log }: ProjectionParts): DoctorCheck => ({
  name: "projection-behind",
  async run() {
    const found: Diagnosis[] = [];
    for (const { name, source } of projections) {
      const at = projectors.find((projector) => projector.name === name)?.position() ?? 0;
      const tip = await log.tip(source.stream);
      if (at < 0 || tip - at < behindMax) continue;
      found.push({
        subject: name,
        severity: "warning",
        message: `it is ${tip - at} entries behind ${source.stream}: what it shows is old`,
        remedy:
          "see whether Postgres is slow or the service was just started; it catches up by itself",
      });
    }
    return found;
  },
});

export const projectionChecks = (parts: ProjectionParts): DoctorCheck[] => [
  stoppedCheck(parts),
  haltedCheck(parts),
  behindCheck(parts),
];
