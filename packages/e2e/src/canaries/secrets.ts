/** Secrets that a running system holds, and new ones that look like what people keep secret: each is known to be unique. */
import { randomBytes, randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Planted, planted } from "@chom/shared/testing/leak-finder";
import type { EmbeddedStack } from "@chom/stack/embedded-stack";
import { serviceNames } from "@chom/stack/service-process";
import { newSshKeyPair } from "@chom/stack/ssh-keys";

/** The part of a token that only it has: claims and headers are the same in many. */
export const plantedToken = (name: string, token: string): Planted =>
  planted(name, token.slice(token.lastIndexOf(".") + 1));

/** Where OpenSSH's form of an unencrypted ed25519 key has its seed; the rest of it is public or the same in all. */
const seedInOpenSsh = [161, 193] as const;

/** A key's secret bytes and, where its lines may break within them, the middle of its text. */
export function plantedPem(name: string, pem: string): Planted[] {
  const lines = pem.split("\n").filter((line) => line !== "" && !line.startsWith("-----"));
  const bytes = Buffer.from(lines.join(""), "base64");
  if (pem.includes("OPENSSH")) return [planted(name, bytes.subarray(...seedInOpenSsh))];
  const middle = lines[Math.floor((lines.length - 1) / 2)] ?? "";
  return [planted(`${name}, a line of its text`, middle), planted(`${name}, its bytes`, bytes)];
}

/** Whatever kind of secret begins so: nobody's is to be seen. */
export const shapes: readonly Planted[] = [
  planted("a private key in PEM", "PRIVATE KEY-----"),
  planted("an age identity", "AGE-SECRET-KEY-1"),
];

/** What the stack was started with. */
export function stackSecrets(stack: EmbeddedStack): Planted[] {
  const read = (file: string) => readFileSync(join(stack.folder, file), "utf8").trim();
  const passwordIn = (url: string) => decodeURIComponent(new URL(url).password);
  const [, rootKey = ""] = read("root.key").split(" ");
  const identity = read("backup-identity.key").match(/^(?!#).+$/gm) ?? [];
  return [
    planted("root key", rootKey),
    planted("root key, its bytes", Buffer.from(rootKey, "base64")),
    planted("superuser's password", passwordIn(stack.postgres.url)),
    planted("session key", read("session.key")),
    ...identity.map((part, at) => planted(`backup identity, part ${at + 1}`, part)),
    ...Object.entries(stack.identities.seedFiles).map(([user, file]) =>
      planted(`seed of ${user}`, readFileSync(file, "utf8").trim()),
    ),
    ...serviceNames.flatMap((name) => [
      planted(`database password of ${name}`, passwordIn(read(`${name}.postgres`))),
      ...plantedPem(`TLS key of ${name}`, read(`${name}.key`)),
    ]),
  ];
}

const random = (bytes: number): string => randomBytes(bytes).toString("base64url");

/** What a customer's files hold, of a kind that goes round. */
const contents: readonly (() => string)[] = [
  () => `define('AUTH_KEY', '${random(24)}#$&<>"\\${random(24)}');`,
  () => `DATABASE_URL=postgres://shop:${random(18)}@db.internal/shop?sslmode=require`,
  () => `APP_KEY=base64:${randomBytes(32).toString("base64")}`,
  () => `STRIPE_SECRET=sk_live_${randomBytes(24).toString("hex")}`,
  () => `AGE-KEY-${random(40).toUpperCase()}`,
  () => `{"jwt":"${random(20)}.${random(60)}.${random(40)}"}`,
  () => `password: "pä${random(20)} ${random(20)}ß"`,
  () => `AWS_SECRET_ACCESS_KEY=${randomBytes(30).toString("base64")}`,
  () => newSshKeyPair().private,
];

export type Content = { readonly text: string; readonly planted: readonly Planted[] };

/** The content of one file of a customer. */
export function customerContent(at: number): Content {
  const name = `customer's secret ${at + 1}`;
  const text = (contents[at % contents.length] ?? randomUUID)();
  const isKey = text.startsWith("-----");
  // Only what is random in the middle of it: the beginning of a line is the same for many.
  return { text, planted: isKey ? plantedPem(name, text) : [planted(name, text)] };
}
