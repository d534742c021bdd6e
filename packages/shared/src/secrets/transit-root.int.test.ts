/** The transit client against a keeper of the root key over TLS that checks each question and really encrypts. */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { createCa, issueCertificate } from "@chom/stack/certificates";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { classify } from "../failure/failure.ts";
import { eitherRoots, fileRoots } from "./root-keys.ts";
import { parseRootKeys } from "./keyring.ts";
import { Secret } from "./secret.ts";
import { isTransitRoot, transitRoots } from "./transit-root.ts";

type Asked = { method: string; path: string; token: string; body: Record<string, string> };
const versions = [randomBytes(32)];
const state = { answer: undefined as { status: number; body: string } | undefined, silent: false };
const asked: Asked[] = [];
let url: string;
let ca: Buffer;
let close: () => Promise<void>;

/** As the engine does it: `vault:v<n>:` and base64 of nonce, ciphertext and tag. */
function encrypt({ plaintext = "", associated_data = "" }: Record<string, string>) {
  const nonce = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", versions.at(-1) ?? "", nonce);
  cipher.setAAD(Buffer.from(associated_data, "base64"));
  const body = Buffer.concat([cipher.update(Buffer.from(plaintext, "base64")), cipher.final()]);
  const box = Buffer.concat([nonce, body, cipher.getAuthTag()]).toString("base64");
  return { ciphertext: `vault:v${versions.length}:${box}` };
}

function decrypt({ ciphertext = "", associated_data = "" }: Record<string, string>) {
  const [, version = "0", box = ""] = /^vault:v(\d+):(.+)$/.exec(ciphertext) ?? [];
  const bytes = Buffer.from(box, "base64");
  const key = versions[Number(version) - 1] ?? "";
  const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, 12));
  decipher.setAAD(Buffer.from(associated_data, "base64"));
  decipher.setAuthTag(bytes.subarray(-16));
  const plain = Buffer.concat([decipher.update(bytes.subarray(12, -16)), decipher.final()]);
  return { plaintext: plain.toString("base64") };
}

function answerTo({ method, path, token, body }: Asked): { status: number; body: string } {
  const [, verb] = /^\/v1\/transit\/(encrypt|decrypt)\/chom-root$/.exec(path) ?? [];
  if (token !== "s.right") return { status: 403, body: '{"errors":["permission denied"]}' };
  if (method !== "POST" || !verb) return { status: 404, body: '{"errors":[]}' };
  try {
    const data = verb === "encrypt" ? encrypt(body) : decrypt(body);
    return { status: 200, body: JSON.stringify({ data }) };
  } catch {
    return { status: 400, body: '{"errors":["cipher: message authentication failed"]}' };
  }
}

beforeAll(async () => {
  const made = await createCa("keeper of roots");
  const own = await issueCertificate(made, {
    ...{ commonName: "keeper", dnsNames: ["localhost"], ipAddresses: ["127.0.0.1"], uris: [] },
  });
  ca = Buffer.from(made.certPem);
  const server = createServer({ cert: own.certPem, key: own.keyPem }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = JSON.parse(Buffer.concat(chunks).toString()) as Asked["body"];
      const token = String(request.headers["x-vault-token"]);
      const one = { method: request.method ?? "", path: request.url ?? "", token, body };
      asked.push(one);
      if (state.silent) return;
      const { status, body: text } = state.answer ?? answerTo(one);
      response.writeHead(status, { "content-type": "application/json" }).end(text);
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  url = `https://localhost:${(server.address() as AddressInfo).port}/v1/transit/`;
  close = async () => {
    server.closeAllConnections();
    await new Promise((closed) => server.close(closed));
  };
});
afterAll(() => close());
beforeEach(() => {
  Object.assign(state, { answer: undefined, silent: false });
  asked.length = 0;
});

const roots = (token = "s.right", more: object = {}) =>
  transitRoots({ url, key: "chom-root", token: () => new Secret(token), ca, ...more });
const key = () => new Secret(Buffer.alloc(32, 7));
const context = ["tenant-key", "acme", "1"];
const failed = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => classify(error),
  );

test("a wrapped key comes back whole, and only in its context", async () => {
  const box = await roots().wrap(key(), context);
  expect(box.rootId).toBe("transit/chom-root/v1");
  expect(isTransitRoot(box.rootId)).toBe(true);
  expect((await roots().unwrap(box, context)).reveal()).toEqual(Buffer.alloc(32, 7));
  const moved = await failed(roots().unwrap(box, ["tenant-key", "other", "1"]));
  expect(moved).toMatchObject({ code: "seal-broken", kind: "permanent" });
  const [wrap] = asked;
  expect([wrap?.method, wrap?.path, wrap?.token]).toEqual([
    ...["POST", "/v1/transit/encrypt/chom-root", "s.right"],
  ]);
  expect(Object.keys(wrap?.body ?? {})).toEqual(["plaintext", "associated_data"]);
});

test("a rotated key of the engine is a new root, and what the old one wrapped still opens", async () => {
  const old = await roots().wrap(key(), context);
  versions.push(randomBytes(32));
  const box = await roots().wrap(key(), context);
  expect(box.rootId).toBe("transit/chom-root/v2");
  for (const each of [old, box]) {
    expect((await roots().unwrap(each, context)).reveal()).toEqual(Buffer.alloc(32, 7));
  }
});

test("refusals and outages are typed, and no failure shows the token or the key", async () => {
  const box = await roots().wrap(key(), context);
  const far = transitRoots({
    url: "https://127.0.0.1:1/v1/transit",
    key: "k",
    token: () => new Secret("s.right"),
    ca,
  });
  const cases: readonly (readonly [string, () => Promise<unknown>, typeof state.answer])[] = [
    ["root-forbidden", () => roots("s.wrong").wrap(key(), context), undefined],
    ["key-missing", () => roots("s.right", { key: "nope" }).wrap(key(), context), undefined],
    ["key-missing", () => roots("s.right", { key: "nope" }).unwrap(box, context), undefined],
    ["root-unavailable", () => roots().wrap(key(), context), { status: 503, body: "sealed" }],
    ["root-unavailable", () => roots().wrap(key(), context), { status: 200, body: "<html>" }],
    ["root-unavailable", () => roots().wrap(key(), context), { status: 200, body: '{"data":{}}' }],
    [
      "root-unavailable",
      () => roots().unwrap(box, context),
      { status: 200, body: "x".repeat(99_999) },
    ],
    ["root-unavailable", () => far.wrap(key(), context), undefined],
    // A keeper with a certificate of nobody we know is none.
    ["root-unavailable", () => roots("s.right", { ca: undefined }).wrap(key(), context), undefined],
  ];
  for (const [code, work, answer] of cases) {
    state.answer = answer;
    const failure = await failed(work());
    expect(failure?.code).toBe(code);
    const text = `${failure?.message} ${failure?.stack} ${JSON.stringify(failure)}`;
    expect(text).not.toContain("s.right");
    expect(text).not.toContain(Buffer.alloc(32, 7).toString("base64"));
  }
  state.answer = undefined;
  state.silent = true;
  const late = await failed(roots("s.right", { timeoutMs: 100 }).wrap(key(), context));
  expect(late).toMatchObject({ code: "root-unavailable", kind: "transient" });
});

test("tenants move from the file to the keeper: it wraps, and both unwrap", async () => {
  const file = fileRoots(parseRootKeys(`k1 ${randomBytes(32).toString("base64")}`), randomBytes);
  const old = await file.wrap(key(), context);
  const moving = eitherRoots(roots(), file, isTransitRoot);
  const box = await moving.wrap(key(), context);
  expect(isTransitRoot(box.rootId)).toBe(true);
  for (const each of [old, box]) {
    expect((await moving.unwrap(each, context)).reveal()).toEqual(Buffer.alloc(32, 7));
  }
});
