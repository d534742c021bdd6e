import { expect, test } from "vitest";
import { memoryWorld } from "../testing/memory-engine.ts";
import { scanFamily } from "../testing/scan-family.ts";
import { deliver } from "./deliver.ts";

const key = { uniqueKey: "site-1" };
const never = new AbortController().signal;

test("while a job is pending its unique key answers with it, and is free when it has ended", async () => {
  const { send, runToEnd, names } = scanFamily(async () => "fine");
  expect(await send("job-1", "x", key)).toEqual({ jobId: "job-1", position: 1, created: true });
  expect(await send("job-2", "y", key)).toEqual({ jobId: "job-1", position: 1, created: false });
  expect((await send("job-3", "y", { uniqueKey: "site-2" })).created).toBe(true);
  expect(await names("job-2")).toEqual([]);
  await runToEnd();
  expect((await send("job-2", "y", key)).created).toBe(true);
  expect(await send("job-1", "x", key)).toMatchObject({ jobId: "job-1", created: false });
});

test("a job's declaration may give the key", async () => {
  const { send } = scanFamily(async () => "fine", { unique: ({ text }) => text });
  await send("job-1", "x");
  expect((await send("job-2", "x")).jobId).toBe("job-1");
  expect((await send("job-3", "y")).jobId).toBe("job-3");
});

test("a key is kept through retries, or freed at the start when that is wanted", async () => {
  for (const uniqueUntilStart of [false, true]) {
    const { send, world, engine } = scanFamily(() => new Promise(() => {}));
    await send("job-1", "x", { ...key, uniqueUntilStart });
    expect((await send("job-2", "x", key)).jobId).toBe("job-1");
    const [delivery] = world.queue.ready(1);
    if (!delivery) throw new Error("an item is expected");
    void deliver(engine, delivery, never);
    await world.clock.advance(1_000);
    expect((await send("job-2", "x", key)).jobId).toBe(uniqueUntilStart ? "job-2" : "job-1");
  }
});

test("a claim whose job was never journaled is taken over, and its late job ends without having run", async () => {
  const world = memoryWorld();
  const ran: string[] = [];
  const work = async ({ text }: { text: string }) => {
    ran.push(text);
    return text;
  };
  const gate = Promise.withResolvers<void>();
  const slow = scanFamily(
    work,
    {},
    {
      world,
      around: (engine) => ({
        ...engine,
        log: {
          ...engine.log,
          async append(...given: Parameters<typeof engine.log.append>) {
            await gate.promise;
            return engine.log.append(...given);
          },
        },
      }),
    },
  );
  const other = scanFamily(work, {}, { world });
  const late = slow.send("job-1", "slow", key);
  await new Promise((resolve) => setImmediate(resolve));
  expect((await other.send("job-2", "fast", key)).jobId).toBe("job-2");
  gate.resolve();
  expect(await late).toMatchObject({ jobId: "job-2", created: false });
  await other.runToEnd();
  expect(ran).toEqual(["fast"]);
  expect(await other.names("job-1")).toEqual(["JobQueued", "JobCancelled"]);
});

test("a job whose dispatcher died before it looked at the claim again ends before it starts", async () => {
  const world = memoryWorld();
  const host = scanFamily(async ({ text }) => text, {}, { world });
  await host.send("job-1", "x", key);
  const claims = { ...world.claims };
  // As if another dispatcher had taken the claim for a dead one's.
  await host.send("job-2", "y", { uniqueKey: "other" });
  const reading = async () => ({ owner: "job-2", revision: 9 });
  const blind = scanFamily(
    async ({ text }) => text,
    {},
    {
      world,
      around: (engine) => ({ ...engine, claims: { ...claims, read: reading } }),
    },
  );
  await blind.runReady();
  expect(await host.names("job-1")).toEqual(["JobQueued", "JobCancelled"]);
  expect((await host.names("job-2")).at(-1)).toBe("JobCompleted");
});

test("options out of bounds are refused by field, a payload with its limit", async () => {
  const { send, dispatch, made } = scanFamily(
    async () => "fine",
    {},
    {
      around: (engine) => ({ ...engine, payloadMaxBytes: 100 }),
    },
  );
  const fields = async (more: object) =>
    send("job-1", "x", more).then(
      () => [],
      (failure) => failure.violations.map(({ field }: { field: string }) => field),
    );
  expect(await fields({ backoffKind: "random" })).toEqual(["backoff_kind"]);
  expect(await fields({ backoffMaxMs: -1, maxExceptions: 1_001 })).toEqual([
    "backoff_max_ms",
    "max_exceptions",
  ]);
  expect(await fields({ uniqueKey: "k".repeat(201) })).toEqual(["unique_key"]);
  expect(await fields({ expiresAt: new Date(Number.NaN) })).toEqual(["expires_at"]);
  const input = { text: "x".repeat(100) };
  const large = { job: made, jobId: "job-1", tenant: "tenant-1", actor: "tester", input };
  await expect(dispatch(large)).rejects.toMatchObject({
    code: "payload-too-large",
    message: expect.stringContaining("at most 100 are taken"),
  });
});
