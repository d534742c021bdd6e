import { RegisterServerRequest } from "@chom/proto/chom/credentials/v1/credentials";
import type { Failure } from "@chom/shared/failure/failure";
import { expect, test } from "vitest";
import { networksOf, publicOnly } from "@chom/shared/input/networks";
import { hostKeyProblem, readRegistration } from "./registration.ts";
import { newKeyPair } from "./ssh-key.ts";

const hostKey = newKeyPair("host").publicKey;
const request = (more: Partial<RegisterServerRequest> = {}) =>
  RegisterServerRequest.fromPartial({
    requestId: "r1",
    name: "web-1",
    address: "203.0.113.7",
    hostKeys: [hostKey],
    ...more,
  });
const anywhere = networksOf(["0.0.0.0/0", "::/0"]);
const refusedFields = (more: Partial<RegisterServerRequest>, isAllowed = false): string[] => {
  try {
    readRegistration(request(more), isAllowed ? anywhere : publicOnly);
  } catch (error) {
    return (error as Failure).violations.map(({ field }) => field);
  }
  return [];
};

test("a registration has defaults, and its host keys lose their comments", () => {
  const read = readRegistration(request(), publicOnly);
  expect(read).toMatchObject({ port: 22, user: "chom", address: "203.0.113.7" });
  expect(read.hostKeys).toEqual([hostKey.split(" ").slice(0, 2).join(" ")]);
});

test.each([
  "127.0.0.1",
  "0.0.0.0",
  "10.1.2.3",
  "172.16.0.1",
  "192.168.1.1",
  "169.254.169.254",
  "100.64.0.1",
  "224.0.0.1",
  "::1",
  "::",
  "::ffff:127.0.0.1",
  "::ffff:7f00:1",
  "fd00::1",
  "fe80::1",
  "localhost",
  "web.localhost",
])("case 25: the address %s is refused unless private ones are allowed", (address) => {
  expect(refusedFields({ address })).toEqual(["address"]);
  expect(refusedFields({ address }, true)).toEqual([]);
});

test.each([
  "2130706433",
  "0x7f.1",
  "0177.0.0.1",
  "127.1",
  "a b",
  "-x",
  "a;id",
  "host\n",
  "fe80::1%eth0",
  "",
])("case 25: the address %j is none", (address) => {
  expect(refusedFields({ address }, true)).toEqual(["address"]);
});

test("every bad field is named at once", () => {
  const bad = {
    name: "<b>",
    user: "root;id",
    port: 70_000,
    hostKeys: ["ssh-dss AAAA"],
    requestId: "",
  };
  const fields = refusedFields(bad);
  expect(new Set(fields)).toEqual(new Set(["request_id", "name", "user", "port", "host_keys"]));
  expect(refusedFields({ hostKeys: [] })).toEqual(["host_keys"]);
});

test("a host key line must be what it says", () => {
  const [type, blob] = hostKey.split(" ");
  expect(hostKeyProblem(`${type} ${blob}`)).toBeUndefined();
  for (const line of [
    `ssh-rsa ${blob}`,
    `${type} ${blob?.slice(0, -8)}`,
    `${type}`,
    "",
    `${type} ${blob}=`,
  ]) {
    expect(hostKeyProblem(line)).toBeDefined();
  }
});
