import type { RotationState } from "@chom/proto/chom/credentials/v1/rotations";
import { RotateKeyInput } from "@chom/proto/chom/credentials/v1/events";
import { failureOf } from "@chom/shared/failure/failure";
import { createDispatch } from "@chom/shared/job/dispatch";
import { job } from "@chom/shared/job/job";
import { loadAggregate } from "@chom/shared/event-log/aggregates";
import { memoryEngine } from "@chom/shared/testing/memory-engine";
import fc from "fast-check";
import { expect, test } from "vitest";
import { keyRotations, roundsId } from "./key-rotations.ts";
import { type RotateDueParts, rotateDue, wavesOf } from "./rotate-due.ts";
import { ageOf } from "./rotation-plan.ts";
import { server } from "./server.ts";

const tenant = "tenant-1";
const state = (name: string, over: Partial<RotationState> = {}): RotationState => ({
  ...{ tenant, serverId: name, name, daysOverdue: 1, due: true, hindrance: "" },
  lastRotatedAt: new Date(0),
  ...over,
});

/** The round and a `key.rotate` that only does what the table says, on a whole engine in memory. */
function setup(states: readonly RotationState[], codes: Readonly<Record<string, string>> = {}) {
  const rotated: string[] = [];
  let together = 0;
  let most = 0;
  const rotate = job(server, {
    name: "key.rotate",
    input: RotateKeyInput,
    of: ({ serverId }) => serverId,
    done: "retire" as "promote",
    failed: "failRotation",
    cancelled: "abandonRotation",
    queue: "high",
    tries: 1,
    timeoutMs: 10_000,
    backoffMs: [1_000],
    async work({ serverId }, run) {
      together += 1;
      most = Math.max(most, together);
      await Promise.resolve();
      together -= 1;
      const code = codes[serverId];
      if (code === "skip") return run.skip("rotated already");
      if (code) throw failureOf(code, "as the table says");
      rotated.push(serverId);
      return run.skip("done");
    },
  });
  const asked: unknown[] = [];
  const ports = {} as {
    -readonly [Name in keyof RotateDueParts["app"]]: RotateDueParts["app"][Name];
  };
  const due = rotateDue({
    app: ports as RotateDueParts["app"],
    rotate,
    states: async (query) => {
      asked.push(query);
      return states;
    },
  });
  const memory = memoryEngine([due, rotate], { family: "credentials" });
  const dispatch = createDispatch(memory.engine);
  Object.assign(ports, { log: memory.engine.log, sealer: memory.engine.sealer, dispatch });
  async function round(input = { serverId: "", force: false, reason: "" }) {
    await dispatch({ job: due, jobId: "round-1", input, tenant, actor: "tester" });
    await memory.runToEnd();
    const journal = await memory.state("round-1");
    const histories = { log: memory.engine.log, sealer: memory.engine.sealer };
    const { state: rounds } = await loadAggregate(histories, keyRotations, tenant, roundsId);
    return {
      journal,
      results: rounds.recent[0]?.results ?? [],
      stopped: rounds.recent[0]?.stopped,
    };
  }
  return { round, rotated, asked, most: () => most };
}

const names = (count: number) => Array.from({ length: count }, (_, at) => `s${at}`);

test("rotates every key that is due, one first and then in waves of a tenth", async () => {
  const at = setup(names(25).map((name) => state(name)));
  const { journal, results } = await at.round();
  expect(journal.end?.name).toBe("JobCompleted");
  expect(at.rotated.toSorted()).toEqual(names(25).toSorted());
  expect(at.rotated[0]).toBe("s0");
  expect(results).toHaveLength(25);
  expect(at.most()).toBeLessThanOrEqual(2);
});

test("no rotation is needed when every key is young, rotating, or behind a stopped server", async () => {
  const at = setup([
    state("young", { due: false }),
    state("busy", { hindrance: "rotating" }),
    state("stopped", { hindrance: "quarantined" }),
  ]);
  const { journal, results } = await at.round();
  expect(journal.end?.name).toBe("JobSkipped");
  expect({ results, rotated: at.rotated }).toEqual({ results: [], rotated: [] });
});

test("a rotation that fails is reported, and the other servers have their turn", async () => {
  const at = setup(
    names(4).map((name) => state(name)),
    { s1: "unsupported-type" },
  );
  const { journal, results, stopped } = await at.round();
  expect(journal.failure).toMatchObject({
    code: "jobs-failed",
    message: "1 of 4 rotations failed: s1 (unsupported-type)",
  });
  expect(at.rotated).toEqual(["s0", "s2", "s3"]);
  expect(results.map(({ outcome }) => outcome)).toEqual([
    "skipped",
    "failed",
    "skipped",
    "skipped",
  ]);
  expect(stopped).toBe(false);
});

test("a refused log-in stops the round: what was not begun is left alone, and said so", async () => {
  const at = setup(
    names(30).map((name) => state(name)),
    { s0: "ssh-auth-failed" },
  );
  const { journal, results, stopped } = await at.round();
  expect(journal.failure?.code).toBe("rotation-stopped");
  expect(journal.failure?.message).toContain("29 servers were left alone");
  expect({ rotated: at.rotated, stopped }).toEqual({ rotated: [], stopped: true });
  expect(results.filter(({ outcome }) => outcome === "not-started")).toHaveLength(29);
  expect(results[0]).toMatchObject({ outcome: "failed", code: "ssh-auth-failed" });
});

test("what was asked for reaches the plan: one server, by force", async () => {
  const at = setup([state("s0")]);
  await at.round({ serverId: "s0", force: true, reason: "exposed" });
  expect(at.asked).toMatchObject([{ tenant, serverId: "s0", force: true, limit: 1_000 }]);
});

test("waves hold everyone once, the first one alone, none above a tenth", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 500 }), (count) => {
      const all = names(count);
      const waves = wavesOf(all);
      expect(waves.flat()).toEqual(all);
      if (count > 0) expect(waves[0]).toEqual(["s0"]);
      for (const wave of waves) {
        expect(wave.length).toBeLessThanOrEqual(Math.max(1, Math.floor(count / 10)));
      }
    }),
  );
});

test("a key is due from its ninetieth day on", () => {
  const now = new Date("2026-06-30T12:00:00Z");
  const policy = { maxAgeDays: 90, now, force: false };
  const ago = (days: number) => new Date(now.getTime() - days * 86_400_000);
  expect(ageOf(ago(89.99), policy)).toEqual({ daysOverdue: -1, due: false });
  expect(ageOf(ago(90), policy)).toEqual({ daysOverdue: 0, due: true });
  expect(ageOf(ago(100), policy)).toEqual({ daysOverdue: 10, due: true });
  expect(ageOf(ago(1), { ...policy, force: true }).due).toBe(true);
});
