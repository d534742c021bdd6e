import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Child, startChild, waitUntilReady } from "@chom/stack/child-process";
import { freePort } from "@chom/stack/free-port";
import { resolveNatsServer } from "@chom/stack/nats-binary";
import { onExit } from "@chom/stack/on-exit";
import { startPostgres } from "@chom/stack/postgres";
import { silent } from "@chom/stack/progress";
import { runCommand } from "@chom/stack/run-command";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { root } from "@chom/stack/service-process";
import postgres from "postgres";
import { afterAll, expect, it } from "vitest";
import { parse } from "yaml";
import { makeDeploymentKeys } from "./deployment-keys.ts";

type Service = { environment?: Record<string, string>; command?: string[]; image: string };
const compose = fileURLToPath(new URL("../../../deploy/compose/", import.meta.url));
const file = parse(readFileSync(`${compose}compose.yaml`, "utf8"), { merge: true }) as {
  services: Record<string, Service>;
};

const ends: (() => unknown)[] = [];
const stop = async () => {
  for (const end of ends.splice(0).reverse()) await end();
};
onExit(stop);
afterAll(stop);

/** The default of `${NAME:-default}`, and a value for what must be set. */
const filled = (text: string): string =>
  text.replace(/\$\{(\w+):([-?])([^}]*)\}/g, (_all, name: string, mark: string, rest: string) =>
    mark === "-" ? rest : name === "CHOM_ACME_CONTACT" ? "mailto:operator@example.com" : "",
  );

/** The broker with the configuration that compose gives it; only paths and ports are this machine's. */
async function startBroker(folder: string): Promise<number> {
  const [port, http] = [await freePort(), await freePort()];
  const conf = readFileSync(`${compose}nats.conf`, "utf8")
    .replaceAll("/etc/nats/", `${folder}/nats/`)
    .replace("/data", `${folder}/store`)
    .replace("0.0.0.0:4222", `127.0.0.1:${port}`)
    .replace("0.0.0.0:8222", `127.0.0.1:${http}`);
  writeFileSync(join(folder, "nats/nats.conf"), conf);
  const broker = startChild(await resolveNatsServer(silent), [
    "-c",
    join(folder, "nats/nats.conf"),
  ]);
  ends.push(() => broker.stop());
  await waitUntilReady(
    "nats-server",
    broker,
    async () => broker.log().includes("Server is ready"),
    20_000,
  );
  return port;
}

async function startDatabase(folder: string): Promise<number> {
  const server = await startPostgres();
  ends.push(server.stop);
  await server.createDatabase("chom");
  const sql = postgres(server.url.replace(/\/postgres$/, "/chom"), { max: 1 });
  await sql.unsafe(readFileSync(join(folder, "postgres/roles.sql"), "utf8"));
  await sql.end();
  return server.port;
}

/** The dashboard has no such file. */
function pointAtDatabase(urlFile: string, port: number): void {
  if (!existsSync(urlFile)) return;
  const url = readFileSync(urlFile, "utf8").replace("@postgres:5432/", `@127.0.0.1:${port}/`);
  writeFileSync(urlFile, url);
}

it("keys, broker, roles and settings of the compose file start every service in production", async () => {
  const scratch = scratchFolder("compose");
  ends.push(scratch.remove);
  const folder = join(scratch.path, "secrets");
  await makeDeploymentKeys(folder, { replicas: 1, now: new Date() });
  const [nats, database] = [await startBroker(folder), await startDatabase(folder)];
  const names = Object.keys(file.services).filter((name) =>
    file.services[name]?.image.startsWith("chom/"),
  );
  const ports = new Map<string, number>();
  for (const name of names) ports.set(name, await freePort());
  const here = (name: string, value: string): string =>
    filled(value)
      .replace("tls://nats:4222", `tls://localhost:${nats}`)
      .replace("file:///vault", `file://${scratch.path}`)
      .replace("/etc/chom/tokens/", `${folder}/tokens/`)
      .replace("/etc/chom/", `${folder}/${name}/`)
      .replace("0.0.0.0:8443", `127.0.0.1:${ports.get(name)}`)
      .replace(/:9464$/, ":0")
      .replace(/^(\w+):8443$/, (_all, host: string) => `localhost:${ports.get(host)}`);
  // Nothing of CHOM that whoever runs the tests has set reaches a service.
  const inherited = Object.keys(process.env).filter((key) => key.startsWith("CHOM_"));
  const environment = (name: string) =>
    Object.fromEntries([
      ...inherited.map((key) => [key, undefined] as const),
      ...Object.entries(file.services[name]?.environment ?? {}).map(
        ([key, value]) => [key, here(name, value)] as const,
      ),
    ]) as Record<string, string | undefined>;

  const applied = await runCommand(
    process.execPath,
    [`${root}packages/cli/src/main.ts`, ...(file.services["topology"]?.command ?? [])],
    { env: environment("topology") },
  );
  expect(applied.stderr + applied.code).toBe("0");

  const migrations = names.filter((name) => name.endsWith("-migration"));
  expect(migrations).toHaveLength(5);
  const migrate = async (name: string) => {
    pointAtDatabase(join(folder, name, "secrets/owner.url"), database);
    const main = `${root}services/${name.replace("-migration", "")}/src/main.ts`;
    const args = [main, ...(file.services[name]?.command ?? [])];
    return runCommand(process.execPath, args, { env: environment(name) });
  };
  const services = names.filter((name) => name !== "topology" && !migrations.includes(name));
  for (const name of services) {
    pointAtDatabase(join(folder, name, "secrets/postgres.url"), database);
  }
  const early = await runCommand(process.execPath, [`${root}services/ssl/src/main.ts`], {
    env: environment("ssl"),
  });
  expect(early.stderr).toContain("ssl does not start (schema-behind)");
  for (const made of await Promise.all(migrations.map(migrate))) {
    expect(made.stderr + made.code).toBe("0");
  }
  const children = new Map<string, Child>();
  for (const name of services) {
    const child = startChild(process.execPath, [`${root}services/${name}/src/main.ts`], {
      cwd: root,
      env: environment(name),
    });
    ends.push(() => child.stop({ graceMs: 30_000 }));
    children.set(name, child);
  }
  for (const [name, child] of children) {
    await waitUntilReady(name, child, async () => child.log().includes('"serving"'), 60_000);
  }
  expect([...children.keys()].sort()).toEqual(services.sort());
}, 180_000);
