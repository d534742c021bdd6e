import { failureOf, transient } from "@chom/shared/failure/failure";
import type { AuditFacts } from "@chom/shared/audit/chain";
import { expect, test } from "vitest";
import { auditedPorts, auditedStore, keyDecisions } from "./audited-keys.ts";

const owner = { tenant: "acme", jobId: "j1", fence: "1.7", serverId: "s1" };
const address = { tenant: "acme", serverId: "s1", keyId: "k1" };

function parts({ isDown = false } = {}) {
  const done: string[] = [];
  const write = async (tenant: string, facts: AuditFacts) => {
    if (isDown) throw transient("log-unavailable", "the broker is away");
    done.push(`${tenant} ${facts.actor}: ${facts.action} ${Object.values(facts.resources).join()}`);
  };
  const audit = { write, note: () => {}, close: async () => {} };
  const [now, newId] = [() => new Date(0), () => "id"];
  const decided = keyDecisions({ audit, name: "credentials", now, newId });
  const ports = auditedPorts(
    {
      openSession: () => Promise.reject(failureOf("signer-refused", "not asked")),
      sign: async () => Buffer.from("signature"),
      reportHostKey: async () => void done.push("reported"),
    },
    decided,
  );
  const key = { keyId: "k1", publicKey: "", fingerprint: "" };
  const store = auditedStore(
    {
      create: async () => {
        done.push("made");
        return key;
      },
      sign: async () => Buffer.from("signature"),
      forget: async () => void done.push("forgotten"),
    },
    decided,
  );
  return { done, ports, store };
}

test("case 66: a signature is in the audit before anybody has it, and without an audit nobody has it", async () => {
  const { done, ports } = parts();
  expect(String(await ports.sign(owner, "", Buffer.from("")))).toBe("signature");
  expect(done).toEqual(["acme job j1: key.sign s1,j1"]);
  const down = parts({ isDown: true });
  await expect(down.ports.sign(owner, "", Buffer.from(""))).rejects.toMatchObject({
    code: "log-unavailable",
  });
});

test("keys are made, forgotten and distrusted only after the audit knows", async () => {
  const { done, ports, store } = parts();
  await store.create(address);
  await store.forget(address);
  await ports.reportHostKey(owner, "ssh-ed25519 AAAA");
  expect(done).toEqual([
    ...["acme credentials: key.make s1,k1", "made"],
    ...["acme credentials: key.forget s1,k1", "forgotten"],
    ...["acme job j1: host-key.distrust s1,j1", "reported"],
  ]);
  const down = parts({ isDown: true });
  await expect(down.store.create(address)).rejects.toMatchObject({ code: "log-unavailable" });
  await expect(down.store.forget(address)).rejects.toMatchObject({ code: "log-unavailable" });
  expect(down.done).toEqual([]);
});
