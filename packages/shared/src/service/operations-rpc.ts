/** OperationsService: what is wrong with this service, mending it, and its read models. */
import {
  type DiagnoseResponse,
  type ListProjectionsResponse,
  type MendRequest,
  type MendResponse,
  OperationsServiceService,
  type RebuildProjectionsRequest,
  type RebuildProjectionsResponse,
} from "@chom/proto/chom/operations/v1/operations";
import { notFound } from "../failure/failure.ts";
import { checkpointTables } from "../projection/checkpoint-tables.ts";
import {
  groupsOf,
  type Rebuilding,
  rebuildGroup,
  type RebuildStep,
} from "../projection/rebuild.ts";
import { nameOf, shadowSchema } from "../projection/shadow-tables.ts";
import { fieldsOf } from "../rpc/fields.ts";
import { platformOnly } from "../rpc/platform-only.ts";
import { type Caller, type RpcService, serverStream, unary } from "../rpc/unary.ts";
import type { User } from "../topology/names.ts";
import type { App, Cast } from "./app.ts";
import { brokerChecks } from "./doctor/broker-checks.ts";
import { certificateCheck } from "./doctor/certificate-check.ts";
import { diagnose, type DoctorCheck, mend } from "./doctor/check.ts";
import { databaseChecks } from "./doctor/database-checks.ts";
import { jobChecks } from "./doctor/job-checks.ts";
import { projectionChecks } from "./doctor/projection-checks.ts";
import type { Postgres } from "./postgres.ts";
import type { Runners } from "./runners.ts";

export type Operated = {
  readonly app: App;
  readonly cast: Cast;
  readonly postgres: Postgres;
  readonly runners: Pick<Runners, "projectors" | "projections" | "family">;
  /** PEM of the service's own certificate. */
  readonly certificate: Buffer | undefined;
};

/** Of this build; mixed ones are named by the doctor. */
const version = process.env["npm_package_version"] ?? "0.0.0";

function rebuildingOf({ app, postgres }: Operated): Rebuilding {
  const { name: service, db, log, sealer, logger } = app;
  const shadow = postgres.elsewhere(shadowSchema(service));
  return { service, db, shadow, log, sealer, logger, exclusively: postgres.exclusively };
}

/** Rebuilds one projection with those that share its tables; answers how many rows differed. */
const rebuildOne = (operated: Operated) => async (name: string) => {
  let changed = 0;
  for (const group of groupsOf(operated.runners.projections, [name])) {
    await rebuildGroup(rebuildingOf(operated), group, (step) => {
      if (step.phase === "done") changed = step.rowsChanged;
    });
  }
  return changed;
};

/** All checks of a service: what every one has, then its own. */
export function checksOf(operated: Operated): readonly DoctorCheck[] {
  const { app, cast, postgres, runners, certificate } = operated;
  const { name: service, db, log, nats, now } = app;
  const rebuild = rebuildOne(operated);
  return [
    ...brokerChecks({ nats, user: service as User, now }),
    ...databaseChecks({ postgres, service, now }),
    certificateCheck(certificate, now),
    ...projectionChecks({ ...runners, service, db, log, rebuild }),
    ...(runners.family ? jobChecks({ ...runners.family, db, rebuild }) : []),
    ...(cast.checks?.(rebuild) ?? []),
  ];
}

export function operationsRpc(operated: Operated, checks: readonly DoctorCheck[]): RpcService {
  return {
    definition: OperationsServiceService,
    implementation: {
      diagnose: unary((_: object, caller) => answerDiagnosis(operated, checks, caller)),
      mend: unary((request: MendRequest, caller) => answerMend(checks, request, caller)),
      listProjections: unary((_: object, caller) => listProjections(operated, caller)),
      rebuildProjections: serverStream((request: RebuildProjectionsRequest, caller) =>
        rebuildAll(operated, request, caller),
      ),
    },
  };
}

async function answerDiagnosis(
  { app, postgres }: Operated,
  checks: readonly DoctorCheck[],
  caller: Caller,
): Promise<DiagnoseResponse> {
  platformOnly(caller);
  const found = await diagnose(checks);
  const [row] = await postgres.sql<{ version: string }[]>`
    select current_setting('server_version') as version`;
  return {
    findings: found.map(({ mend: mending, ...told }) => ({ ...told, mendable: !!mending })),
    now: app.now(),
    service: app.name,
    version,
    nodeVersion: process.versions.node,
    natsVersion: app.nats.info?.version ?? "",
    postgresVersion: row?.version ?? "",
    checks: checks.map(({ name }) => name),
  };
}

async function answerMend(
  checks: readonly DoctorCheck[],
  request: MendRequest,
  caller: Caller,
): Promise<MendResponse> {
  platformOnly(caller);
  const fields = fieldsOf(request);
  const check = fields.text("check", { max: 64 });
  const subject = fields.text("subject", { max: 300 });
  fields.done();
  return { message: await mend(checks, check, subject) };
}

async function listProjections(
  { app, runners }: Operated,
  caller: Caller,
): Promise<ListProjectionsResponse> {
  platformOnly(caller);
  const { stops } = checkpointTables(app.name);
  const stopped = await app.db.select().from(stops);
  const projections = await Promise.all(
    runners.projections.map(async ({ name, source, rebuild }) => {
      const projector = runners.projectors.find((each) => each.name === name);
      return {
        name,
        stream: source.stream,
        position: BigInt(Math.max(0, projector?.position() ?? 0)),
        streamPosition: BigInt(await app.log.tip(source.stream)),
        stoppedHistories: stopped.filter(({ projection }) => projection === name).length,
        problem: projector?.failure()?.message ?? "",
        tables: rebuild.tables.map(nameOf),
      };
    }),
  );
  return { projections };
}

const messageOf = ({ position, streamPosition, rowsChanged, rowsTotal, ...step }: RebuildStep) => ({
  ...step,
  position: BigInt(position),
  streamPosition: BigInt(streamPosition),
  rowsChanged: BigInt(rowsChanged),
  rowsTotal: BigInt(rowsTotal),
});

async function* rebuildAll(
  operated: Operated,
  request: RebuildProjectionsRequest,
  caller: Caller,
): AsyncIterable<RebuildProjectionsResponse> {
  platformOnly(caller);
  const { projections } = operated.runners;
  const unknown = request.names.find((name) => !projections.some((each) => each.name === name));
  if (unknown !== undefined) throw notFound("projection", unknown);
  for (const group of groupsOf(projections, request.names)) {
    const steps: RebuildStep[] = [];
    let wake = Promise.withResolvers<void>();
    const told = (step: RebuildStep) => {
      steps.push(step);
      wake.resolve();
    };
    let ended = false;
    const work = rebuildGroup(rebuildingOf(operated), group, told, caller.signal).finally(() => {
      ended = true;
      wake.resolve();
    });
    work.catch(() => undefined);
    while (!ended || steps.length > 0) {
      for (const step of steps.splice(0)) yield messageOf(step);
      if (!ended) await wake.promise;
      wake = Promise.withResolvers<void>();
      if (ended) wake.resolve();
    }
    await work;
  }
}
