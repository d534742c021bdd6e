import { given } from "@chom/shared/aggregate/given";
import type { Failure } from "@chom/shared/failure/failure";
import { expect, test } from "vitest";
import { currentKey, server, serverEvents, unfinishedKey } from "./server.ts";

const at = new Date("2026-01-02T00:00:00Z");
const registered = serverEvents.ServerRegistered({
  serverId: "s1",
  name: "web",
  address: "192.0.2.1",
  port: 22,
  user: "chom",
  hostKeys: ["ssh-ed25519 AAAA"],
});
const keyNamed = (keyId: string) => ({
  keyId,
  publicKey: `ssh-ed25519 ${keyId}`,
  fingerprint: keyId,
});
const created = serverEvents.KeyCreated({ serverId: "s1", ...keyNamed("k1"), createdAt: at });
const activated = serverEvents.ServerActivated({ serverId: "s1", keyId: "k1" });
const staged = serverEvents.KeyStaged({ serverId: "s1", ...keyNamed("k2"), jobId: "j1" });
const promoted = serverEvents.KeyPromoted({
  serverId: "s1",
  keyId: "k2",
  previousKeyId: "k1",
  fingerprint: "k2",
  retireAt: at,
  jobId: "j1",
});
const retired = serverEvents.KeyRetired({
  serverId: "s1",
  keyId: "k1",
  fingerprint: "k1",
  jobId: "j2",
});
const mismatched = serverEvents.HostKeyMismatched({ serverId: "s1", jobId: "j", fingerprint: "x" });
const active = [registered, created, activated];
const input = { serverId: "s1", overlapMs: 60_000n, reason: "" };
const facts = { jobId: "j1", at, tenant: "t", actor: "a", input };
const result = { ...keyNamed("k2"), previousKeyId: "k1" };
const stage2 = { serverId: "s1", jobId: "j9", ...keyNamed("k9") };

test("a server is registered once, with its first key", () => {
  const { server: data, key } = { server: registered.data, key: keyNamed("k1") };
  const names = given(server)
    .when("register", { server: data, key, at })
    .map(({ name }) => name);
  expect(names).toEqual(["ServerRegistered", "KeyCreated"]);
  expect(given(server, registered).when("register", { server: data, key, at })).toEqual([]);
});

test("a login makes a pending server active, and the first key its current one", () => {
  const pending = given(server, registered, created);
  expect(currentKey(pending.state)).toBeUndefined();
  expect(pending.when("activate", { serverId: "s1", keyId: "k1" })).toHaveLength(1);
  const now = given(server, ...active);
  expect(currentKey(now.state)?.keyId).toBe("k1");
  expect(now.when("activate", { serverId: "s1", keyId: "k1" })).toEqual([]);
});

test("case 29: a server that showed another host key stays stopped", () => {
  const stopped = given(server, ...active, mismatched);
  expect(stopped.state.status).toBe("quarantined");
  expect(() => stopped.when("activate", { serverId: "s1", keyId: "k1" })).toThrow(/host key/);
  expect(stopped.when("distrust", mismatched.data)).toEqual([]);
});

test("promotion makes the new key current and leaves the old one until its time", () => {
  const decided = given(server, ...active, staged).when("promote", {
    ...facts,
    result,
    durationMs: 1,
  });
  expect(decided).toMatchObject([
    {
      name: "KeyPromoted",
      data: { previousKeyId: "k1", retireAt: new Date("2026-01-02T00:01:00Z") },
    },
  ]);
  const now = given(server, ...active, staged, promoted);
  expect(currentKey(now.state)?.keyId).toBe("k2");
  expect(now.state.keys.map(({ status }) => status)).toEqual(["overlap", "current"]);
  expect(now.when("promote", { ...facts, result, durationMs: 1 })).toEqual([]);
});

test("no rotation begins while one is unfinished, from staging to retirement", () => {
  const codeOf = (fn: () => unknown): string => {
    try {
      fn();
    } catch (error) {
      return (error as Failure).code;
    }
    return "";
  };
  for (const events of [
    [...active, staged],
    [...active, staged, promoted],
  ]) {
    expect(codeOf(() => given(server, ...events).when("stage", stage2))).toBe(
      "rotation-unfinished",
    );
  }
  const done = given(server, ...active, staged, promoted, retired);
  expect(unfinishedKey(done.state)).toBeUndefined();
  expect(done.when("stage", stage2)).toHaveLength(1);
  expect(given(server, ...active, staged).when("stage", staged.data)).toEqual([]);
});

test("a failed rotation leaves the current key alone and allows the next one", () => {
  const report = {
    ...facts,
    code: "lockout-risk",
    kind: "operator",
    message: "m",
    attempts: 3,
    undone: true,
  };
  const decided = given(server, ...active, staged).when("failRotation", report);
  expect(decided).toMatchObject([
    { name: "KeyRotationFailed", data: { keyId: "k2", alert: "operator" } },
  ]);
  const failed = serverEvents.KeyRotationFailed({
    serverId: "s1",
    keyId: "k2",
    code: "lockout-risk",
    message: "m",
    jobId: "j1",
    alert: "operator",
  });
  const after = given(server, ...active, staged, failed);
  expect(currentKey(after.state)?.keyId).toBe("k1");
  expect(after.when("stage", stage2)).toHaveLength(1);
});

test("only a key in overlap is retired, and once", () => {
  const done = {
    ...facts,
    jobId: "j2",
    input: { serverId: "s1", keyId: "k1", promotedAt: at },
    result: { fingerprint: "k1" },
    durationMs: 1,
  };
  expect(given(server, ...active, staged, promoted).when("retire", done)).toHaveLength(1);
  expect(given(server, ...active, staged, promoted, retired).when("retire", done)).toEqual([]);
  expect(given(server, ...active).when("retire", done)).toEqual([]);
});
