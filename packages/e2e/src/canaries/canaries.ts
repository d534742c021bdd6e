/** Plants secrets along the ways of a whole system, and looks for them everywhere afterwards. */
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { JobOptions } from "@chom/proto/chom/jobs/v1/control";
import type { Kept } from "@chom/shared/testing/everything-stored";
import { leakFinder, type Planted, planted } from "@chom/shared/testing/leak-finder";
import type { SitePlace } from "@chom/stack/demo/site-content";
import type { Vps } from "@chom/stack/vps";
import { newId, type World } from "../world.ts";
import type { Told } from "./attempts.ts";
import { keptByStack, leftOnServer, watchProcesses } from "./places.ts";
import { customerContent, shapes } from "./secrets.ts";

const filesOfSite = 14;
const rowsOfSite = 6;

type SiteGround = { vps: Vps; kind: string; siteId: string; place: SitePlace };

/** What CHOM made for the site, and what its owner adds to its files and database. */
async function plantOnSite(
  { clients }: World,
  { vps, kind, siteId, place }: SiteGround,
  told: Told,
): Promise<void> {
  const made = await clients.provisioning.revealSiteSecrets({ siteId });
  for (const name of ["databasePassword", "adminPassword"] as const) {
    if (made[name]) told.secrets.push(planted(`${name} of ${siteId}`, made[name]));
  }
  if (kind === "wordpress") {
    const { stdout } = await vps.exec(["cat", `${place.rootPath}/shared/wp-salts.php`]);
    const salts = [...stdout.matchAll(/define\('(\w+)', '(\w+)'\);/g)];
    if (salts.length !== 8) throw new Error(`the site has ${salts.length} salts`);
    for (const [, name = "", salt = ""] of salts) told.secrets.push(planted(name, salt));
  }
  const already = told.secrets.length;
  for (let at = 0; at < filesOfSite; at += 1) {
    const content = customerContent(already + at);
    told.secrets.push(...content.planted);
    const path = `${place.rootPath}/shared/canary-${at}.env`;
    const keep = 'mkdir -p "$(dirname "$1")" && cat > "$1" && chown "$2:" "$1" && chmod 600 "$1"';
    const argv = ["sh", "-c", keep, "sh", path, place.systemUser];
    const done = await vps.exec(argv, { input: `${content.text}\n` });
    if (done.code !== 0) throw new Error(done.stderr);
  }
  if (place.databaseName === "") return;
  const rows = Array.from({ length: rowsOfSite }, (_, at) => customerContent(already + 90 + at));
  for (const content of rows) told.secrets.push(...content.planted);
  const values = rows.map(({ text }) => `(0x${Buffer.from(text).toString("hex")})`).join(", ");
  const input = `CREATE TABLE canaries (value TEXT); INSERT INTO canaries VALUES ${values};`;
  const done = await vps.exec(["mariadb", place.databaseName], { input });
  if (done.code !== 0) throw new Error(done.stderr);
}

/** A backup that breaks after it has read the site. */
async function failingBackup({ stack, clients }: World, siteId: string): Promise<void> {
  const vault = join(stack.folder, "vault");
  renameSync(vault, `${vault}.away`);
  writeFileSync(vault, "no folder");
  try {
    const jobId = newId("broken");
    await clients.dispatch.dispatchJob({
      ...{ requestId: jobId, jobName: "backup.create", reason: "" },
      inputJson: JSON.stringify({ siteId, kind: "BACKUP_KIND_FULL" }),
      options: JobOptions.fromPartial({ tries: 1 }),
    });
    let last = "";
    for await (const { type } of clients.watch(jobId)) last = type;
    if (last !== "JobFailed") throw new Error(`the backup ended with ${last}`);
  } finally {
    rmSync(vault);
    renameSync(`${vault}.away`, vault);
  }
}

/** Begins to look at processes; the rest is asked for when it is there. */
export function startCanaries(world: World, bodies: readonly string[]) {
  const told: Told = { secrets: [...shapes], answers: [], refused: 0 };
  const since = new Date();
  const processes = watchProcesses();

  /** Each place by the secrets that are in it; `extra` is looked for too. */
  async function search(vps: Vps, extra: readonly Planted[]): Promise<Map<string, string[]>> {
    processes.look();
    const find = leakFinder([...told.secrets, ...extra]);
    const found = new Map<string, string[]>();
    let looked = 0;
    const look = ({ place, bytes }: Kept) => {
      looked += 1;
      const names = find(bytes);
      if (names.length > 0) found.set(place, names);
    };
    for (const each of [...told.answers, ...processes.seen()]) look(each);
    for (const body of bodies) look({ place: "span", bytes: Buffer.from(body) });
    for await (const each of keptByStack(world.stack)) look(each);
    for await (const each of leftOnServer(vps, since)) look(each);
    console.log(`${told.secrets.length} secrets in ${looked} places: ${found.size} hold one`);
    return found;
  }
  return {
    told,
    search,
    plantOnSite: (ground: SiteGround) => plantOnSite(world, ground, told),
    failingBackup: (siteId: string) => failingBackup(world, siteId),
    stop: processes.stop,
  };
}

export type Canaries = ReturnType<typeof startCanaries>;
