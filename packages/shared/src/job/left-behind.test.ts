/** What scripts leave running on servers is ended before their job ends badly, or the journal says that it may run on. */
import { expect, test } from "vitest";
import { failureOf } from "../failure/failure.ts";
import { script } from "../script/script.ts";
import { fakeServers, type ServerCall } from "../testing/fake-servers.ts";
import { memoryWorld } from "../testing/memory-engine.ts";
import { scanFamily, type Extra, type Work } from "../testing/scan-family.ts";
import { deliver } from "./deliver.ts";
import { patienceMs } from "./left-behind.ts";

const deploy = script({
  file: new URL("file:///deploy.sh"),
  timeoutMs: 60_000,
  variables: () => ({}),
  output: () => "deployed",
});
const never = new AbortController().signal;
const cut = () => failureOf("ssh-connection-lost", "cut");
const deaf = () => new Promise<never>(() => {});
const deployTo: Work = (_, run) => run.script("deploy", deploy, "server-1", {});

type Canned = { readonly stop?: unknown; readonly "deploy.sh"?: unknown };

function hostOf(work: Work, canned: Canned = {}, extra: Extra = {}) {
  const world = memoryWorld();
  const servers = fakeServers({ "deploy.sh": deaf, ...canned });
  const alerts: unknown[] = [];
  const logger = {
    ...{ debug() {}, info() {}, warn() {} },
    error: (facts: { alert?: boolean }) => void (facts.alert && alerts.push(facts)),
  };
  const options = { world, servers, logger: logger as never };
  const more = { exclusive: () => ["site.site-1"], ...extra };
  return { ...scanFamily(work, more, options), world, servers, alerts };
}

/** Cancels the job in the middle of its work, and waits until its worker is done with it. */
async function cancelInTheMiddle(host: ReturnType<typeof hostOf>) {
  await host.send();
  const [delivery] = host.world.queue.ready(1);
  if (!delivery) throw new Error("an item is expected");
  const running = deliver(host.engine, delivery, never);
  await host.world.clock.advance(1_000);
  await host.control("cancel");
  await host.world.clock.advance(12_000 + patienceMs);
  await running;
}

const startedAt = async (host: ReturnType<typeof hostOf>) =>
  (await host.journal("job-1")).findLast(({ name }) => name === "JobStarted")?.meta.position;
const fences = (stops: readonly ServerCall[]) => stops.map(({ context }) => context.fence);

test("what abandoned work left on a server without an undo is ended there under the newer fence", async () => {
  const host = hostOf(deployTo, {
    stop: async () => {
      // Before the end is recorded, and while the leases are held.
      expect((await host.names()).at(-1)).toBe("JobStarted");
      expect(await host.world.leases.held("tenant-1.site.site-1")).toBeDefined();
    },
  });
  await cancelInTheMiddle(host);
  expect((await host.names()).slice(-3)).toEqual([
    "JobCancelEscalated",
    "JobStarted",
    "JobCancelled",
  ]);
  expect(host.servers.stops).toMatchObject([
    { serverId: "server-1", context: { leaseKeys: ["tenant-1.site.site-1"] } },
  ]);
  expect(fences(host.servers.stops)).toEqual([
    `${await host.world.log.epoch("JOURNAL")}.${await startedAt(host)}`,
  ]);
  const entries = await host.journal("job-1");
  expect(entries.at(-3)?.data).toMatchObject({ openServerIds: ["server-1"] });
  expect(entries.at(-1)?.data).toMatchObject({ reason: "because", openServerIds: [] });
  expect(host.alerts).toEqual([]);
});

test("work that is abandoned after its scripts have ended leaves nothing to end", async () => {
  const host = hostOf(
    async (input, run) => {
      await deployTo(input, run);
      return deaf();
    },
    { "deploy.sh": "deployed" },
  );
  await cancelInTheMiddle(host);
  expect((await host.names()).at(-1)).toBe("JobCancelled");
  expect(host.servers.stops).toEqual([]);
});

test("a server that comes back is tried until what runs there has ended", async () => {
  const host = hostOf(deployTo, {
    stop: (_: unknown, times: number) =>
      times < 4 ? failureOf("ssh-unreachable", "down") : undefined,
  });
  await cancelInTheMiddle(host);
  expect(host.servers.stops.length).toBe(4);
  expect((await host.journal("job-1")).at(-1)?.data).toMatchObject({ openServerIds: [] });
});

test("a cancel does not wait for ever for a server that is away, and says where a script may still run", async () => {
  const host = hostOf(deployTo, { stop: failureOf("ssh-unreachable", "down") });
  await cancelInTheMiddle(host);
  const end = (await host.journal("job-1")).at(-1);
  expect(end).toMatchObject({
    name: "JobCancelled",
    data: {
      reason: "because; a script may still run on server-1",
      openServerIds: ["server-1"],
    },
  });
  expect(host.alerts).toMatchObject([{ jobId: "job-1", serverIds: ["server-1"] }]);
});

test("a server that has seen a newer fence needs no end", async () => {
  const host = hostOf(deployTo, { stop: failureOf("fenced", "newer") });
  await cancelInTheMiddle(host);
  expect(host.servers.stops.length).toBe(1);
  expect((await host.journal("job-1")).at(-1)?.data).toMatchObject({ openServerIds: [] });
});

test("another worker ends what the one before it was stopped from ending", async () => {
  const world = memoryWorld();
  const stopping = new AbortController();
  const servers = fakeServers({
    "deploy.sh": deaf,
    stop: (_: unknown, times: number) => {
      if (times === 1) stopping.abort();
      return times === 1 ? failureOf("ssh-unreachable", "down") : undefined;
    },
  });
  const host = scanFamily(deployTo, {}, { world, servers });
  await host.send();
  const [delivery] = world.queue.ready(1);
  if (!delivery) throw new Error("an item is expected");
  const running = deliver(host.engine, delivery, stopping.signal);
  const gone = expect(running).rejects.toMatchObject({ code: "worker-stopping" });
  await world.clock.advance(1_000);
  await host.control("cancel");
  await world.clock.advance(12_000);
  await gone;
  expect((await host.names()).at(-1)).toBe("JobStarted");
  delivery.nak(1);
  await host.runToEnd();
  expect((await host.names()).slice(-2)).toEqual(["JobStarted", "JobCancelled"]);
  expect(servers.stops.length).toBe(2);
});

test("a job that is cancelled between two attempts ends what the cut one left", async () => {
  const host = hostOf(deployTo, { "deploy.sh": cut });
  await host.send();
  await host.runReady();
  expect((await host.journal("job-1")).at(-1)).toMatchObject({
    name: "JobDeferred",
    data: { openServerIds: ["server-1"] },
  });
  await host.control("cancel");
  await host.runToEnd();
  expect((await host.names()).at(-1)).toBe("JobCancelled");
  expect(fences(host.servers.stops)).toEqual([
    `${await host.world.log.epoch("JOURNAL")}.${await startedAt(host)}`,
  ]);
});

test("a last attempt that runs out of time ends what it left, with a newer fence, before the job fails", async () => {
  const host = hostOf(deployTo, {}, { tries: 1 });
  await host.send();
  await host.runToEnd();
  expect((await host.names()).slice(-3)).toEqual(["JobAttemptFailed", "JobStarted", "JobFailed"]);
  expect(fences(host.servers.stops)).toEqual([
    `${await host.world.log.epoch("JOURNAL")}.${await startedAt(host)}`,
  ]);
  expect((await host.journal("job-1")).at(-1)?.data).toMatchObject({
    failure: { code: "attempt-timeout" },
    openServerIds: [],
  });
});

test("an attempt that passes the step on the server has nothing left to end of those before it", async () => {
  const host = hostOf(
    async (input, run) => {
      await deployTo(input, run);
      throw failureOf("db-corrupt", "no");
    },
    { "deploy.sh": (...[, , times]: unknown[]) => (times === 1 ? cut() : "deployed") },
  );
  await host.send();
  await host.runToEnd();
  expect((await host.names()).at(-1)).toBe("JobFailed");
  expect(host.servers.stops).toEqual([]);
});
