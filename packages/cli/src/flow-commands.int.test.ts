/** `chom chain …`, `chom batch …` and `chom dispatch --chain | --batch` as processes, against a scheduler and a toy family. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Running, startService } from "@chom/shared/service/start";
import { contextFor, runConsole, startServiceProcess } from "@chom/shared/testing/console";
import { type Ground, startGround } from "@chom/shared/testing/ground";
import { toyFamily } from "@chom/shared/testing/toy-family";
import { afterAll, beforeAll, expect, test } from "vitest";

let ground: Ground;
let toy: Running;
let scheduler: Awaited<ReturnType<typeof startServiceProcess>>;
let context: string;

beforeAll(async () => {
  ground = await startGround();
  toy = await startService(toyFamily(new URL("./none", import.meta.url)), {
    ...(await ground.environment("ssl")),
    CHOM_LOG_LEVEL: "silent",
  });
  scheduler = await startServiceProcess(ground, "scheduler", {
    CHOM_PRUNER_SEED_FILE: ground.seedFiles.pruner,
  });
  context = await contextFor(ground, "acme", { scheduler: scheduler.address, ssl: toy.address });
});
afterAll(async () => {
  await scheduler?.stop();
  await toy?.stop();
  await ground?.stop();
});

const chom = (...args: string[]) => runConsole(context, args);
function file(name: string, json: unknown): string {
  const path = join(ground.folder, name);
  writeFileSync(path, JSON.stringify(json));
  return path;
}
/** Starts it without waiting; the same request id is the same flow. */
async function started(kind: "chain" | "batch", path: string, requestId: string) {
  const args = ["dispatch", `--${kind}`, path, "--request-id", requestId, "--no-wait", "--json"];
  const made = await chom(...args);
  expect(made).toMatchObject({ code: 0 });
  return made.json()[`${kind}Id`] as string;
}
const note = (reason: string) => ({ job: "certificate.issue", input: { reason } });

test("a chain from a file is followed to its end, shown and listed", async () => {
  const path = file("chain.json", { name: "two", links: [note("one"), note("two")] });
  const ended = await chom("dispatch", "--chain", path, "--request-id", "c-1", "--wait");
  expect(ended).toMatchObject({ code: 0 });
  expect(ended.err).toMatch(/link 2 of 2 .*completed/);
  const id = await started("chain", path, "c-1");
  const shown = await chom("chain", "show", id);
  expect(shown.out).toMatch(/status +completed/);
  expect(shown.out.match(/note\.take\tcompleted/g)).toHaveLength(2);
  expect((await chom("chain", "list", "--json")).json()).toMatchObject([
    { chainId: id, name: "two", status: "completed", linksCount: 2 },
  ]);
  expect((await chom("chain", "cancel", id, "--json")).error()).toMatchObject({
    code: "chain-ended",
  });
  expect((await chom("chain", "show", "nowhere")).code).toBe(3);
});

test("a chain whose link fails exits with 6 and leaves the rest out", async () => {
  const path = file("failing.json", { links: [note("fail"), note("never")] });
  const ended = await chom("dispatch", "--chain", path, "--request-id", "c-2", "--wait", "--json");
  expect(ended.code).toBe(6);
  expect(ended.json()).toMatchObject({ jobId: expect.any(String), status: "failed" });
});

test("a batch is added to, tells its progress and counts what failed", async () => {
  const jobs = [note("a"), note("fail"), note("c")];
  const path = file("batch.json", { name: "notes", allowFailures: true, jobs: [note("wait")] });
  const id = await started("batch", path, "b-1");
  const more = file("more.json", jobs);
  const add = ["batch", "add", id, "--file", more, "--request-id", "more"];
  expect((await chom(...add)).code).toBe(0);
  expect((await chom(...add)).code).toBe(0);
  const look = async () => (await chom("batch", "show", id, "--json")).json();
  await expect
    .poll(look, { timeout: 30_000, interval: 1_000 })
    .toMatchObject({ status: "running", jobsCount: 4, completedCount: 2, failedCount: 1 });
  expect((await chom("batch", "show", id)).out).toMatch(/note\.take\tfailed\tunsupported-type/);
  expect((await chom("batch", "cancel", id, "--reason", "enough")).code).toBe(0);
  const ended = await chom("batch", "show", id, "--wait");
  expect(ended.code).toBe(6);
  expect(ended.out).toMatch(/100 % of 4: 2 completed, 1 failed, 1 cancelled/);
  expect((await chom("batch", "list")).out).toContain(`${id}\tnotes\tfinished, cancelled`);
});

test("a file that is none, and two wishes at once, are usage errors", async () => {
  const path = file("bad.json", { links: [{ jub: "x" }] });
  expect((await chom("dispatch", "--chain", path)).code).toBe(2);
  expect((await chom("dispatch", "--chain", "/nowhere.json")).code).toBe(2);
  expect((await chom("dispatch", "backup.clean", "--chain", path)).code).toBe(2);
  expect((await chom("dispatch")).code).toBe(2);
});
