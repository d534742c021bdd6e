import { createHash, randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { classify, transient } from "../failure/failure.ts";
import { memoryKeyRows } from "../testing/key-maker.ts";
import { entryOfText } from "./key-entry.ts";
import { type KeyIssuer, keyIssuer } from "./key-issuer.ts";
import { keyring, parseRootKeys } from "./keyring.ts";
import { fileRoots, type RootKeys } from "./root-keys.ts";
import { type KeyDirectory, tenantKeys } from "./tenant-keys.ts";

const base64 = (seed: string) => createHash("sha256").update(seed).digest("base64");
const first = `r1 ${base64("one")}`;
const both = `r2 ${base64("two")}\n${first}`;
const rootsOf = (text: string) => fileRoots(parseRootKeys(text), randomBytes);
const plain = Buffer.from("the input of a job");
const context = ["job", "job-1", "backup.create"];

const code = (run: () => unknown) => {
  try {
    run();
  } catch (error) {
    return classify(error).code;
  }
  return "nothing thrown";
};
const codeOf = (work: Promise<unknown> | undefined) =>
  (work ?? Promise.resolve()).then(
    () => "done",
    (error: unknown) => classify(error).code,
  );

/** The bucket in memory. */
function world(text = first) {
  const entries = new Map<string, { text: string; revision: number }>();
  const rows = memoryKeyRows();
  let revision = 0;
  const state = { away: false, finds: 0 };
  const shelf = {
    parse: entryOfText,
    read: async (tenant: string) => {
      const found = entries.get(tenant);
      return { text: found?.text, revision: found?.revision ?? 0 };
    },
    put: async (tenant: string, entry: string, expected: number) => {
      if ((entries.get(tenant)?.revision ?? 0) !== expected) return false;
      revision += 1;
      entries.set(tenant, { text: entry, revision });
      return true;
    },
  };
  const issuerWith = (roots: RootKeys): KeyIssuer =>
    keyIssuer({ rows, shelf, roots, random: randomBytes });
  const issuer = issuerWith(rootsOf(text));
  const directory: KeyDirectory = {
    async find(tenant) {
      if (state.away) throw transient("log-unavailable", "away");
      state.finds += 1;
      const found = entries.get(tenant);
      return found && entryOfText(found.text);
    },
    async changes(after) {
      if (state.away) throw transient("log-unavailable", "away");
      if (after === undefined) return { revision, tenants: "all" };
      const changed = [...entries].filter(([, entry]) => entry.revision > after);
      return { revision, tenants: changed.map(([tenant]) => tenant) };
    },
    make: issuer.make,
  };
  const clock = { ms: 0, at: new Date("2026-11-28T00:00:00Z") };
  const service = (roots = text, before?: string) =>
    tenantKeys({
      ...{ directory, roots: rootsOf(roots), random: randomBytes },
      before: before === undefined ? undefined : keyring(parseRootKeys(before), randomBytes),
      nowMs: () => clock.at.getTime(),
      elapsedMs: () => clock.ms,
    });
  return { entries, rows, shelf, issuer, issuerWith, state, clock, service };
}

test("what one service seals another opens, with the same tenant and context only", async () => {
  const { service } = world();
  const [ours, theirs] = [service(), service()];
  await ours.ready("acme");
  const sealed = ours.seal("acme", context, plain);
  await Promise.all([theirs.ready("acme"), theirs.ready("other")]);
  expect(theirs.open("acme", context, sealed)).toEqual(plain);
  expect(sealed.keyId).toBe("t1.2026-11");
  expect(code(() => theirs.open("other", context, sealed))).toBe("seal-broken");
  expect(code(() => theirs.open("acme", ["job", "job-2", "x"], sealed))).toBe("seal-broken");
  expect(code(() => theirs.open("acme", ["event", "job-1"], sealed))).toBe("seal-broken");
  expect(code(() => theirs.open("acme", context, { ...sealed, keyId: "t1.2026-10" }))).toBe(
    "seal-broken",
  );
  expect(code(() => theirs.open("acme", context, { ...sealed, keyId: "t9.2026-11" }))).toBe(
    "key-missing",
  );
});

test("a month later another data key seals, and the old month still opens", async () => {
  const { service, clock } = world();
  const keys = service();
  await keys.ready("acme");
  const november = keys.seal("acme", context, plain);
  clock.at = new Date("2026-12-01T00:00:00Z");
  expect(keys.seal("acme", context, plain).keyId).toBe("t1.2026-12");
  expect(keys.open("acme", context, november)).toEqual(plain);
});

test("services that need a new tenant's key at once get the same one", async () => {
  const { service, rows, issuer } = world();
  const services = Array.from({ length: 8 }, () => service());
  await Promise.all([...services.map((each) => each.ready("new")), issuer.make("new")]);
  const entry = await rows.find("new");
  expect(entry?.state === "alive" && entry.keys).toHaveLength(1);
  const [one] = services;
  const sealed = one?.seal("new", context, plain);
  for (const each of services) {
    expect(sealed && each.open("new", context, sealed)).toEqual(plain);
    expect(each.fingerprint("new", plain)).toBe(one?.fingerprint("new", plain));
  }
});

test("keys are random, not derived from the root", async () => {
  const [a, b] = [world(), world()];
  const [here, there] = [a.service(), b.service()];
  await Promise.all([here.ready("acme"), there.ready("acme")]);
  expect(here.fingerprint("acme", plain)).not.toBe(there.fingerprint("acme", plain));
  expect(code(() => there.open("acme", context, here.seal("acme", context, plain)))).toBe(
    "seal-broken",
  );
});

test("a wrapped key moved to another tenant opens nothing", async () => {
  const { service, entries, issuer } = world();
  await Promise.all([issuer.make("acme"), issuer.make("other")]);
  const acme = entries.get("acme");
  if (acme) entries.set("other", acme);
  const keys = service();
  await keys.ready("other");
  expect(code(() => keys.seal("other", context, plain))).toBe("seal-broken");
});

test("what a tenant's older key or an older root sealed still opens after both were rotated", async () => {
  const { service, issuer, issuerWith, entries, clock } = world();
  const before = service();
  await before.ready("acme");
  const places = Array.from({ length: 100_000 }, (_, at) => ["job", `job-${at}`, "backup.create"]);
  const sealed = places.map((place) => before.seal("acme", place, Buffer.from(place.join())));
  const print = before.fingerprint("acme", plain);
  expect(await issuer.rotate("acme", 1)).toBe(2);
  expect(await issuer.rotate("acme", 1)).toBe(2);
  const renewed = issuerWith(rootsOf(both));
  expect(await renewed.newestRoot()).toBe("r2");
  expect(await renewed.rewrap("acme", "r2")).toBe(2);
  expect(await renewed.rewrap("acme", "r2")).toBe(0);
  expect(entries.get("acme")?.text).not.toContain('"r1"');
  // A service that has only the new root, and one that ran all the time.
  const after = service(`r2 ${base64("two")}`);
  await after.ready("acme");
  const wrong = places.filter(
    (place, at) =>
      after.open("acme", place, sealed[at] ?? { keyId: "", ciphertext: plain }).toString() !==
      place.join(),
  );
  expect(wrong).toEqual([]);
  expect(after.seal("acme", context, plain).keyId).toBe("t2.2026-11");
  expect(after.fingerprint("acme", plain)).toBe(print);
  clock.ms += 1_000;
  const running = service(both);
  await running.refresh();
  await running.ready("acme");
  expect(running.open("acme", context, after.seal("acme", context, plain))).toEqual(plain);
}, 60_000);

test("a running service seals with a new version after its next look, without a failure meanwhile", async () => {
  const { service, issuer } = world();
  const keys = service();
  await keys.ready("acme");
  const old = keys.seal("acme", context, plain);
  await issuer.rotate("acme", 0);
  const looking = keys.refresh();
  expect(keys.open("acme", context, old)).toEqual(plain);
  await looking;
  expect(keys.seal("acme", context, plain).keyId).toBe("t2.2026-11");
  expect(keys.open("acme", context, old)).toEqual(plain);
});

test("an erased tenant opens nowhere after the next look, gets no new key, and others do not notice", async () => {
  const { service, issuer, rows } = world(first);
  const legacy = keyring(parseRootKeys(first), randomBytes);
  const derived = legacy.seal("acme", context, plain);
  const keys = service(first, first);
  await Promise.all([keys.ready("acme"), keys.ready("other")]);
  const sealed = keys.seal("acme", context, plain);
  const others = keys.seal("other", context, plain);
  await issuer.rotate("acme", 0);
  expect(await issuer.erase("acme", new Date(5))).toBe(2);
  await keys.refresh();
  for (const each of [keys, service(first, first)]) {
    await Promise.all([each.ready("acme"), each.ready("other")]);
    expect(code(() => each.open("acme", context, sealed))).toBe("tenant-erased");
    expect(code(() => each.open("acme", context, derived))).toBe("tenant-erased");
    expect(code(() => each.seal("acme", context, plain))).toBe("tenant-erased");
    expect(code(() => each.fingerprint("acme", plain))).toBe("tenant-erased");
    expect(each.open("other", context, others)).toEqual(plain);
  }
  expect(await issuer.make("acme")).toEqual({ state: "erased", erasedAt: new Date(5) });
  expect(await codeOf(issuer.rotate("acme", 0))).toBe("tenant-erased");
  expect(await issuer.erase("acme", new Date(9))).toBe(0);
  expect(await rows.find("acme")).toEqual({ state: "erased", erasedAt: new Date(5) });
  expect(await codeOf(issuer.erase("platform", new Date()))).toBe("tenant-protected");
});

test("a key that is destroyed while it is fetched is not used", async () => {
  const { service, issuer } = world();
  await issuer.make("acme");
  const keys = service();
  await keys.refresh();
  const fetching = keys.ready("acme");
  await issuer.erase("acme", new Date());
  await Promise.all([fetching, keys.refresh()]);
  await keys.ready("acme");
  expect(code(() => keys.seal("acme", context, plain))).toBe("tenant-erased");
});

test("without its directory a service seals on for seconds, then fails as passing, and recovers", async () => {
  const { service, state, clock } = world();
  const keys = service();
  await keys.ready("acme");
  state.away = true;
  clock.ms = 9_000;
  expect(keys.ready("acme")).toBeUndefined();
  expect(code(() => keys.seal("acme", context, plain))).toBe("nothing thrown");
  clock.ms = 11_000;
  expect(code(() => keys.seal("acme", context, plain))).toBe("tenant-key-unavailable");
  expect(await codeOf(keys.ready("acme"))).toBe("tenant-key-unavailable");
  expect(await codeOf(keys.ready("unseen"))).toBe("tenant-key-unavailable");
  state.away = false;
  await keys.ready("acme");
  expect(code(() => keys.seal("acme", context, plain))).toBe("nothing thrown");
});

test("what is held costs no question, and a look asks for what changed only", async () => {
  const { service, state, issuer } = world();
  const keys = service();
  await Promise.all(["a", "b", "c"].map(async (tenant) => keys.ready(tenant)));
  const asked = state.finds;
  await keys.ready("a");
  await keys.refresh();
  await keys.refresh();
  expect(state.finds).toBeLessThanOrEqual(asked + 3);
  const settled = state.finds;
  await keys.refresh();
  expect(state.finds).toBe(settled);
  await issuer.rotate("b", 0);
  await keys.refresh();
  expect(state.finds).toBe(settled + 1);
});

test("with a root missing or its keeper away, the failure is typed, and other versions stay readable", async () => {
  const { service, issuer, issuerWith } = world();
  await issuer.make("acme");
  const blind = service(`r2 ${base64("two")}`);
  await blind.ready("acme");
  expect(code(() => blind.seal("acme", context, plain))).toBe("key-missing");
  const sighted = service();
  await sighted.ready("acme");
  const old = sighted.seal("acme", context, plain);
  // A new root wraps the second version, and this service has not got it yet.
  await issuerWith(rootsOf(both)).rotate("acme", 0);
  await sighted.refresh();
  expect(sighted.open("acme", context, old)).toEqual(plain);
  expect(code(() => sighted.seal("acme", context, plain))).toBe("key-missing");
});

test("a directory that is lost is filled again from the rows, and rows from a backup learn from the directory", async () => {
  const { service, issuer, entries, shelf } = world();
  const keys = service();
  await keys.ready("acme");
  const sealed = keys.seal("acme", context, plain);
  await issuer.erase("gone", new Date(1));
  entries.clear();
  const fresh = service();
  await Promise.all([fresh.ready("acme"), fresh.ready("gone")]);
  expect(fresh.open("acme", context, sealed)).toEqual(plain);
  expect(code(() => fresh.seal("gone", context, plain))).toBe("tenant-erased");
  // Rows from before both tenants: the directory knows better, so no second key is made and nobody rises.
  const restored = keyIssuer({
    ...{ rows: memoryKeyRows(), shelf, roots: rootsOf(first), random: randomBytes },
  });
  await restored.make("acme");
  expect((await restored.make("gone")).state).toBe("erased");
  await fresh.refresh();
  expect(fresh.open("acme", context, sealed)).toEqual(plain);
});

test("what was sealed with keys derived from a root still opens", async () => {
  const { service } = world();
  const old = keyring(parseRootKeys(first), randomBytes).seal("acme", context, plain);
  const [with1, without] = [service(first, first), service(first)];
  await Promise.all([with1.ready("acme"), without.ready("acme")]);
  expect(with1.open("acme", context, old)).toEqual(plain);
  expect(code(() => without.open("acme", context, old))).toBe("key-missing");
});
