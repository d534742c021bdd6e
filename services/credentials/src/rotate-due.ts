/**
 * `key.rotate-due`: starts `key.rotate` for every server whose key is due. One server goes first, then waves of at
 * most a tenth; a log-in that is refused stops the round, because the next one may lock us out as well.
 */
import { RotateDueInput } from "@chom/proto/chom/credentials/v1/rotation_events";
import type { RotationResult, RotationState } from "@chom/proto/chom/credentials/v1/rotations";
import { hashId } from "@chom/shared/aggregate/id";
import { failureOf } from "@chom/shared/failure/failure";
import { type ChildEnd, endsOf, nextLook } from "@chom/shared/job/fan-out";
import { type AnyJob, job } from "@chom/shared/job/job";
import type { Run } from "@chom/shared/job/run";
import type { App } from "@chom/shared/service/app";
import { keyRotations, roundsId } from "./key-rotations.ts";

export type RotateDueParts = {
  readonly app: Pick<App, "log" | "sealer" | "dispatch">;
  readonly rotate: AnyJob;
  /** The servers in reach, the longest overdue first, at most `limit`. */
  readonly states: (query: {
    tenant: string;
    serverId: string;
    force: boolean;
    now: Date;
    limit: number;
  }) => Promise<readonly RotationState[]>;
};

type Due = { tenant: string; serverId: string; name: string; jobId: string };
type DueRun = Run<typeof keyRotations>;

/** What is left is due tomorrow, too. */
const largestRound = 1_000;
const overlapMs = 86_400_000n;

/** Codes after which no other server is tried. */
const stops: ReadonlySet<string> = new Set([
  "ssh-auth-failed",
  "ssh-host-key-mismatch",
  "sudo-denied",
  "permission-denied",
  "lockout-risk",
  "old-key-still-works",
]);

/** One first, then a tenth of all at a time. */
export function wavesOf<One>(due: readonly One[]): readonly (readonly One[])[] {
  const size = Math.max(1, Math.floor(due.length / 10));
  const waves = due.length === 0 ? [] : [due.slice(0, 1)];
  for (let at = 1; at < due.length; at += size) waves.push(due.slice(at, at + size));
  return waves;
}

export const rotateDue = (parts: RotateDueParts) =>
  job(keyRotations, {
    name: "key.rotate-due",
    input: RotateDueInput,
    of: () => roundsId,
    done: "end",
    failed: "noteNothing",
    cancelled: "noteNothing",
    queue: "high",
    tries: 3,
    timeoutMs: 300_000,
    backoffMs: [60_000],
    exclusive: () => [`rotations.${roundsId}`],

    async work(input, run) {
      const due = await run.step("find what is due", () => findDue(parts, input, run));
      if (due.length === 0) return run.skip("no rotation needed");
      const ended: ChildEnd[] = [];
      let stopped = false;
      for (const [at, wave] of wavesOf(due).entries()) {
        const begunAt = await run.step(`start wave ${at + 1}`, () =>
          startWave(parts, run, input, wave),
        );
        const ends = await endsOf(parts.app, "credentials", wave);
        const open = ends.filter(({ end }) => end === "open").length;
        const over = ended.length + wave.length - open;
        run.progress(Math.round((100 * over) / due.length), `${over} of ${due.length} servers`);
        if (open > 0) {
          const reason = `${open} servers of wave ${at + 1} are being rotated`;
          return run.defer(nextLook(begunAt, run.now()), reason, "waiting-for-jobs");
        }
        ended.push(...ends);
        stopped = ends.some(({ code }) => stops.has(code));
        if (stopped) break;
      }
      const results = resultsOf(due, ended);
      await run.record("report", "report", { jobId: run.id, results, stopped });
      return conclude(results, stopped);
    },
  });

async function findDue(
  { states }: RotateDueParts,
  { serverId, force }: RotateDueInput,
  run: DueRun,
): Promise<Due[]> {
  const query = { tenant: run.tenant, serverId, force, now: run.now(), limit: largestRound };
  return (await states(query))
    .filter(({ due, hindrance }) => due && hindrance === "")
    .map((server) => ({
      ...{ tenant: server.tenant, serverId: server.serverId, name: server.name },
      jobId: hashId("key.rotate-due", run.id, run.generation, server.tenant, server.serverId),
    }));
}

async function startWave(
  { app, rotate }: RotateDueParts,
  run: DueRun,
  input: RotateDueInput,
  wave: readonly Due[],
): Promise<Date> {
  const reason = input.reason === "" ? "the key is due" : input.reason;
  for (const { tenant, serverId, jobId } of wave) {
    const cause = { tenant, actor: run.actor, causationId: run.id };
    const wish = { serverId, overlapMs, reason };
    await app.dispatch({ ...cause, job: rotate, jobId, input: wish, options: { reason } });
  }
  return run.now();
}

const words = { completed: "rotated", skipped: "skipped", failed: "failed", open: "failed" };

const resultsOf = (due: readonly Due[], ended: readonly ChildEnd[]): RotationResult[] =>
  due.map((server) => {
    const found = ended.find(({ jobId }) => jobId === server.jobId);
    if (!found) return { ...server, outcome: "not-started", code: "", message: "" };
    return { ...server, outcome: words[found.end], code: found.code, message: found.message };
  });

function conclude(results: readonly RotationResult[], stopped: boolean): { rotated: number } {
  const failed = results.filter(({ outcome }) => outcome === "failed");
  const names = failed
    .map(({ name, code }) => `${name} (${code})`)
    .slice(0, 10)
    .join(", ");
  const count = `${failed.length} of ${results.length} rotations failed: ${names}`;
  if (stopped) {
    const left = results.filter(({ outcome }) => outcome === "not-started").length;
    throw failureOf("rotation-stopped", `${count}; ${left} servers were left alone`);
  }
  if (failed.length > 0) throw failureOf("jobs-failed", count);
  return { rotated: results.filter(({ outcome }) => outcome === "rotated").length };
}
