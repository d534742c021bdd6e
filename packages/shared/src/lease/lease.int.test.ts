import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { startNatsCluster, startNatsServer } from "@chom/stack/nats-server";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { connectNats, type Nats } from "../event-log/nats.ts";
import { apply } from "../topology/apply.ts";
import { leaseKey, runLeaseKey } from "../topology/subjects.ts";
import { topology } from "../topology/topology.ts";
import { type Acquired, type Lease, type Leases, leases } from "./lease.ts";
import { type Ticket, tickets } from "./tickets.ts";

let sites = 0;
const freshKey = () => leaseKey("acme", "site", `s${sites++}`);
const taken = (acquired: Acquired): Lease => {
  if ("lease" in acquired) return acquired.lease;
  throw new Error(`held by ${acquired.heldBy.owner}`);
};

for (const replicas of [1, 3] as const) {
  describe(`R${replicas}`, () => {
    let nats: Nats | undefined;
    let close: () => Promise<unknown> = async () => {};
    beforeAll(async () => {
      const broker = replicas === 1 ? await startNatsServer() : await startNatsCluster(3);
      const servers = "urls" in broker ? broker.urls : broker.url;
      const opened = await connectNats({ servers, name: "test" });
      nats = opened;
      close = async () => {
        await opened.close();
        await broker.stop();
      };
      await apply(opened, topology({ replicas }), { nowMs: Date.now() });
    });
    afterAll(() => close());
    const connection = (): Nats => {
      if (!nats) throw new Error("the broker did not start");
      return nats;
    };
    const open = (ttlMs = 30_000): Leases => leases(connection(), { ttlMs, newHolder: randomUUID });

    test("a held key is refused and names its holder, until it is released", async () => {
      const [here, there, key] = [open(), open(), freshKey()];
      const lease = taken(await here.acquire(key, "job-a"));
      expect(await there.acquire(key, "job-b")).toEqual({ heldBy: { key, owner: "job-a" } });
      expect(await there.held(key)).toEqual({ key, owner: "job-a" });
      await here.release(lease);
      expect(await there.held(key)).toBeUndefined();
      taken(await there.acquire(key, "job-b"));
    });

    test("of ten that ask at once one gets the key", async () => {
      const key = freshKey();
      const asked = await Promise.all(
        Array.from({ length: 10 }, (_, i) => open().acquire(key, `job-${i}`)),
      );
      expect(asked.filter((each) => "lease" in each)).toHaveLength(1);
    });

    test("a lease that is renewed outlives its time; one that is not expires", async () => {
      const [store, key] = [open(2_000), freshKey()];
      let lease = taken(await store.acquire(key, "job-a"));
      for (let i = 0; i < 4; i += 1) {
        await sleep(900);
        lease = await store.renew(lease);
      }
      expect(await store.acquire(key, "job-b")).toHaveProperty("heldBy");
      await expect
        .poll(async () => "lease" in (await store.acquire(key, "job-b")), { timeout: 30_000 })
        .toBe(true);
      await expect(store.renew(lease)).rejects.toMatchObject({
        code: "lease-lost",
        message: expect.stringContaining("job-b holds it now"),
      });
    });

    test("an expired lease that nobody took is lost, too", async () => {
      const [store, key] = [open(1_000), freshKey()];
      const lease = taken(await store.acquire(key, "job-a"));
      await expect.poll(() => store.held(key), { timeout: 30_000 }).toBeUndefined();
      await expect(store.renew(lease)).rejects.toMatchObject({ code: "lease-lost" });
      taken(await store.acquire(key, "job-a"));
    });

    test("a new run of the same job takes over, and the old run's renewal fails", async () => {
      const [old, next, key] = [open(), open(), freshKey()];
      const before = taken(await old.acquire(key, "job-a"));
      const after = taken(await next.acquire(key, "job-a"));
      await expect(old.renew(before)).rejects.toMatchObject({ code: "lease-lost" });
      await old.release(before);
      expect(await next.held(key)).toEqual({ key, owner: "job-a" });
      await next.renew(after);
    });

    test("several keys are taken all or none", async () => {
      const [store, first, second] = [open(), freshKey(), freshKey()];
      const blocking = taken(await store.acquire(second, "job-b"));
      const keys = [second, first, first];
      expect(await store.acquireAll(keys, "job-a")).toEqual({
        heldBy: { key: second, owner: "job-b" },
      });
      expect(await store.held(first)).toBeUndefined();
      await store.release(blocking);
      const all = await store.acquireAll(keys, "job-a");
      expect("leases" in all && all.leases.map(({ key }) => key)).toEqual(
        [first, second].toSorted(),
      );
    });

    test("a renewal whose answer was lost is still a renewal", async () => {
      const key = freshKey();
      let lose = 0;
      const lossy = new Proxy(connection(), {
        get(target, name) {
          const value: unknown = Reflect.get(target, name);
          if (name !== "request") return typeof value === "function" ? value.bind(target) : value;
          return async (...args: Parameters<Nats["request"]>) => {
            const reply = await target.request(...args);
            if (!args[0].startsWith("$KV") || lose <= 0) return reply;
            lose -= 1;
            throw new Error("the answer was lost");
          };
        },
      });
      const store = leases(lossy, { newHolder: randomUUID });
      lose = 1;
      const lease = taken(await store.acquire(key, "job-a"));
      lose = 1;
      const renewed = await store.renew(lease);
      expect(renewed.revision).toBeGreaterThan(lease.revision);
      await store.renew(renewed);
    });

    test("a release and an expiry wake the oldest waiter", async () => {
      const [store, key] = [open(1_000), freshKey()];
      const queue = tickets(connection());
      const ticket = (id: string) => ({ key, id, owner: `job-${id}`, family: "backup" });
      const woken: string[] = [];
      onTestFinished(queue.onReleased(({ owner }) => void woken.push(owner)));
      const lease = taken(await store.acquire(key, "job-a"));
      for (const id of ["02", "01", "03"]) await queue.take(ticket(id));
      await queue.take(ticket("01"));
      expect((await queue.waiting(key)).map(({ id }) => id)).toEqual(["01", "02", "03"]);
      await store.release(lease);
      await expect.poll(() => woken).toEqual(["job-01"]);
      await queue.drop(ticket("01"));
      taken(await store.acquire(key, "job-01"));
      await expect.poll(() => woken, { timeout: 30_000 }).toEqual(["job-01", "job-02"]);
    });

    test("of five thousand waiters the oldest is woken each time, also by a process that came later", async () => {
      const [store, key, count] = [open(), freshKey(), 5_000];
      const [first, later] = [tickets(connection()), tickets(connection())];
      const woken: string[] = [];
      onTestFinished(first.onReleased(({ id }) => void woken.push(id)));
      const idOf = (order: number) => String(order).padStart(5, "0");
      // Any order but that of their age: 1,237 and 5,000 have no common divisor.
      const left = Array.from({ length: count }, (_, n) => idOf((n * 1_237) % count));
      const ticket = (id: string) => ({ key, id, owner: `job-${id}`, family: "backup" });
      const queueUp = async () => {
        for (let id = left.pop(); id; id = left.pop()) await first.take(ticket(id));
      };
      await Promise.all(Array.from({ length: 64 }, queueUp));
      expect((await first.waiting(key)).map(({ id }) => id)).toEqual(
        Array.from({ length: count }, (_, n) => idOf(n)),
      );
      expect(await first.take(ticket(idOf(4_999)))).toBe(4_999);
      const heard: string[] = [];
      onTestFinished(later.onReleased(({ id }) => void heard.push(id)));
      await expect.poll(() => later.take(ticket(idOf(4_999))), { timeout: 30_000 }).toBe(4_999);
      for (let turn = 0; turn < 20; turn += 1) {
        await store.release(taken(await store.acquire(key, `job-${idOf(turn)}`)));
        await expect.poll(() => woken.length, { timeout: 30_000 }).toBe(turn + 1);
        await expect.poll(() => heard.length, { timeout: 30_000 }).toBe(turn + 1);
        if (turn === 0) {
          // Who comes while the oldest is on its way leaves it to that one.
          expect(first.mustYield(ticket(idOf(1)))).toBe(true);
          expect(first.mustYield(ticket(idOf(0)))).toBe(false);
        }
        await first.drop(ticket(idOf(turn)));
        expect(first.mustYield(ticket(idOf(count)))).toBe(false);
      }
      const oldestFirst = Array.from({ length: 20 }, (_, n) => idOf(n));
      expect(woken).toEqual(oldestFirst);
      expect(heard).toEqual(oldestFirst);
    }, 120_000);

    test("a waiter that is gone is passed over for the next", async () => {
      const [store, key] = [open(), freshKey()];
      const queue = tickets(connection());
      const woken: string[] = [];
      const wake = async ({ id }: { id: string }) => {
        woken.push(id);
        return id === "01" ? "gone" : "woken";
      };
      onTestFinished(queue.onReleased(wake as (oldest: Ticket) => Promise<"woken" | "gone">));
      for (const id of ["01", "02", "03"]) {
        await queue.take({ key, id, owner: `job-${id}`, family: "backup" });
      }
      await store.release(taken(await store.acquire(key, "job-a")));
      await expect.poll(() => woken, { timeout: 30_000 }).toEqual(["01", "02"]);
    });

    test("who listens for released leases is not told of the runs of jobs", async () => {
      const store = open();
      const heard: string[] = [];
      const listening = new Proxy(connection(), {
        get(target, name) {
          const value: unknown = Reflect.get(target, name);
          if (name !== "subscribe") return typeof value === "function" ? value.bind(target) : value;
          const subscribe: Nats["subscribe"] = (subject, options) =>
            target.subscribe(subject, {
              ...options,
              callback(error, message) {
                if (subject.startsWith("live.")) heard.push(message.subject);
                void options?.callback?.(error, message);
              },
            });
          return subscribe;
        },
      });
      onTestFinished(tickets(listening).onReleased(() => {}));
      const run = runLeaseKey("acme", "ssl", "job-1");
      await expect
        .poll(async () => {
          for (const key of [run, freshKey()])
            await store.release(taken(await store.acquire(key, "a")));
          return heard.length;
        })
        .toBeGreaterThan(1);
      expect(heard.filter((subject) => subject.includes("job-1"))).toEqual([]);
    });

    test("a ticket that nobody renews is forgotten", async () => {
      const queue = tickets(connection(), { ttlMs: 1_000 });
      const key = freshKey();
      await queue.take({ key, id: "01", owner: "job-a", family: "ssl" });
      await expect.poll(() => queue.waiting(key), { timeout: 30_000 }).toEqual([]);
    });
  });
}
