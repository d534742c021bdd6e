/** One more secret that is put into every kind of place, in another form each: who looks must find it in all of them. */
import { randomBytes } from "node:crypto";
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { connectNats, publish } from "@chom/shared/event-log/nats";
import { inboxPrefix } from "@chom/shared/topology/names";
import { Secret } from "@chom/shared/secrets/secret";
import { openPostgres } from "@chom/shared/service/postgres";
import { type Planted, planted } from "@chom/shared/testing/leak-finder";
import { startChild } from "@chom/stack/child-process";
import type { EmbeddedStack } from "@chom/stack/embedded-stack";
import type { Vps } from "@chom/stack/vps";
import type { Told } from "./attempts.ts";

/** What of a place's name tells its kind. */
export const placesOfControl = [
  ...["error of control", "arguments of sh", "environment of sleep", "span"],
  ...["log credentials.log", "file left-over", "stream KV_snapshots", "row chom.public.left_over"],
  "server /tmp/left-over",
] as const;

type Ground = { stack: EmbeddedStack; vps: Vps; told: Told; spanUrl: string };

/** As the service that may write there. */
async function intoBucket({ nats, identities }: EmbeddedStack, text: string): Promise<void> {
  const seed = new Secret(readFileSync(identities.seedFiles.credentials, "utf8"));
  const own = { servers: nats.url, name: "control", seed, inboxPrefix: inboxPrefix("credentials") };
  const connection = await connectNats(own);
  await publish(connection, "$KV.snapshots.credentials.left-over", text);
  await connection.close();
}

/** Leaks it; `clean` takes back what would outlive the stack. */
export async function leakControl({ stack, vps, told, spanUrl }: Ground) {
  const secret = `control "${randomBytes(24).toString("base64")}"`;
  const bytes = Buffer.from(secret);
  const hex = bytes.toString("hex");
  const base64 = Buffer.concat([Buffer.from("x"), bytes]).toString("base64");
  const control: Planted = planted("control", secret);

  told.answers.push({ place: "error of control", bytes });
  const children = [
    startChild("sh", ["-c", "sleep 600; :", "sh", `--${base64}`], {}),
    startChild("sleep", ["600"], { env: { LEFT_OVER: encodeURIComponent(secret) } }),
  ];
  await fetch(`${spanUrl}/v1/control`, { method: "POST", body: JSON.stringify({ secret }) });
  const line = JSON.stringify({ msg: JSON.stringify({ secret }) });
  appendFileSync(stack.services.credentials.logFile, `${line}\n`);
  mkdirSync(join(stack.folder, "vault", "deep"), { recursive: true });
  writeFileSync(join(stack.folder, "vault", "deep", "left-over"), bytes.toString("base64url"));
  await intoBucket(stack, hex.toUpperCase());
  const url = new Secret(stack.postgres.url.replace(/\/postgres$/, "/chom"));
  const { sql, close } = openPostgres(url, "control", 1);
  await sql`create table public.left_over (value bytea)`;
  await sql`insert into public.left_over values (${bytes})`;
  await close();
  await vps.exec(["sh", "-c", "cat > /tmp/left-over"], { input: JSON.stringify({ secret }) });
  return {
    control,
    clean: () => Promise.all(children.map((child) => child.stop())),
  };
}
