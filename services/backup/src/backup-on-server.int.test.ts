/** Backup and restore of a real site on a real server: files byte for byte, tables row for row. */
import { generateKeyPairSync, sign } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { BackupKind } from "@chom/proto/chom/backup/v1/backup";
import type { CreateBackupInput, RestoreBackupInput } from "@chom/proto/chom/backup/v1/events";
import type { EventMeta } from "@chom/shared/aggregate/aggregate";
import { decide, fold } from "@chom/shared/aggregate/aggregate";
import { type Failure, failureOf } from "@chom/shared/failure/failure";
import { type FinishedStep, startRun, undoingOf } from "@chom/shared/job/run-steps";
import { decodeResult } from "@chom/shared/job/step-result";
import type { App } from "@chom/shared/service/app";
import { sshServers } from "@chom/shared/script/ssh-servers";
import type { Servers } from "@chom/shared/script/servers";
import { ensureHostProgram } from "@chom/stack/apt";
import { runCommand } from "@chom/stack/run-command";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { startVps, type Vps, vpsSupport } from "@chom/stack/vps";
import { createLogger } from "@chom/shared/telemetry/logger";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeBackupKeys, readBackupKeys } from "./backup-keys.ts";
import { type Backups, backups, type Taken } from "./backups.ts";
import { createBackup } from "./create-backup.ts";
import { restoreBackup } from "./restore-backup.ts";
import { discardStaging, prepareStaging, stageDatabase, stageFiles } from "./scripts.ts";
import { localVault } from "./vault-local.ts";
import { verifyBackup } from "./verify-backup.ts";

const support = await vpsSupport();
if (!support.ok) console.warn(`backups of a real site are not tested: ${support.reason}`);

const user = "s-abc123def456";
const database = "s_abc123def456";
const root = `/srv/sites/${user}`;
const tenant = "acme";
const siteId = "site-1";
const domain = "shop.example";
const place = {
  siteId,
  serverId: "server-1",
  domain,
  systemUser: user,
  rootPath: root,
  databaseName: database,
  siteKind: "SITE_KIND_STATIC",
  phpVersion: "",
  estimatedBytes: 0n,
};

/** A site as provisioning leaves it, with a front page served by nginx. */
const makeSite = `
set -eu
useradd --home-dir ${root} --no-create-home --shell /usr/sbin/nologin ${user}
install -d -m 0755 /srv/sites /var/lib/chom /etc/chom /etc/chom/sites
install -d -m 0710 -o ${user} -g www-data ${root}
for d in public shared releases logs tmp sessions; do install -d -m 2750 -o ${user} -g www-data ${root}/$d; done
mariadb -e "CREATE DATABASE ${database} CHARACTER SET utf8mb4; CREATE USER '${database}'@'localhost' IDENTIFIED BY 'pa ss\\"word';
  GRANT ALL ON \\\`s\\\\_abc123def456\\\`.* TO '${database}'@'localhost';"
install -d -m 0700 /etc/chom/sites/${user}
printf '[client]\\nuser=${database}\\npassword="pa ss\\\\"word"\\nsocket=/run/mysqld/mysqld.sock\\n' >/etc/chom/sites/${user}/db.cnf
chmod 0600 /etc/chom/sites/${user}/db.cnf
cat >/etc/nginx/conf.d/shop.conf <<'X'
server { listen 80; server_name ${domain}; root ${root}/public; index index.html;
  if (-f /var/lib/chom/maintenance/${user}) { return 503; }
  if (-f ${root}/public/broken) { return 500; } }
X
nginx -s reload
`;

/** Names with newlines, spaces, quotes, dashes and bytes that are no UTF-8; links in and out; 10 MB. */
const makeContent = `
set -eu
cd ${root}/public
printf 'hello' >index.html
printf 'a' >"$(printf 'new\\nline')"
printf 'b' >'-rf'
printf 'c' >"$(printf 'bad\\377utf8')"
printf 'd' >"it's \\"quoted\\" \\$(id) \\\`id\\\` *"
printf 'e' >"$(printf 'n%.0s' $(seq 1 255))"
mkdir -p deep/er 'space dir'
: >empty
head -c 10000000 /dev/urandom >big.bin
ln -s ../index.html deep/up
ln -s ${root}/shared shared-link
ln -s nowhere dangling
ln index.html hard
chmod 0640 big.bin; chmod 0755 empty
touch -d '2001-02-03 04:05:06' index.html
cp /dev/null ../logs/access.log
chown -hR ${user}:www-data .
`;

const makeTables = `
CREATE TABLE plain (id INT PRIMARY KEY AUTO_INCREMENT, t TEXT, b LONGBLOB, d DATETIME(6) NULL) ENGINE=InnoDB;
INSERT INTO plain (t, b, d) VALUES ('one', X'00ff0a0d27', NULL), (_utf8mb4 'zwei \\n; '' ( é 🎉', NULL, '2001-02-03 04:05:06.789');
CREATE TABLE \`odd\`\`na me\` (id INT, g INT AS (id * 2) STORED, PRIMARY KEY (id)) ENGINE=InnoDB;
INSERT INTO \`odd\`\`na me\` (id) VALUES (1), (2), (3);
CREATE TABLE empty_one (id INT) ENGINE=InnoDB;
CREATE TABLE parent (id INT PRIMARY KEY) ENGINE=InnoDB;
CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id)) ENGINE=InnoDB;
INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (10, 1), (11, 2);
CREATE TABLE audit (n INT) ENGINE=InnoDB; INSERT INTO audit VALUES (0);
CREATE VIEW names AS SELECT id, t FROM plain;
DELIMITER ;;
CREATE TRIGGER counts AFTER INSERT ON plain FOR EACH ROW BEGIN UPDATE audit SET n = n + 1; END;;
CREATE PROCEDURE add_one() BEGIN INSERT INTO plain (t) VALUES ('made'); END;;
CREATE FUNCTION twice(x INT) RETURNS INT DETERMINISTIC RETURN x * 2;;
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM audit;;
DELIMITER ;
`;

describe.skipIf(!support.ok)("a site on a real server", () => {
  let vps: Vps;
  let servers: Servers;
  const folder = scratchFolder("backup-server");
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const vault = localVault(join(folder.path, "vault"));
  const keys = readBackupKeys(makeBackupKeys());
  const events: { name: string; data: unknown; meta: EventMeta }[] = [];
  const state = (): Backups => fold(backups, events);
  const load = (async () => ({
    state: state(),
    sequence: events.length,
  })) as unknown as App["load"];
  const deps = { vault, keys, load };
  let runs = 0;

  const sh = async (text: string, input?: string) => {
    const { code, stdout, stderr } = await vps.exec(
      ["sh", "-c", text],
      input === undefined ? {} : { input },
    );
    if (code !== 0) throw new Error(`${text.slice(0, 200)}: ${stderr}`);
    return stdout;
  };
  const sql = (text: string) => sh(`mariadb --default-character-set=utf8mb4 ${database}`, text);
  /** Every name with type, mode, owner, link target, and hash; tmp, sessions and logs belong to the place. */
  const treeNow = () =>
    sh(
      `cd ${root} && find . -path ./tmp -prune -o -path ./sessions -prune -o -path ./logs -prune -o -printf '%P %y %m %u %g %l %T@ ' \\( -type f -exec sha256sum {} \\; -o -printf '\\n' \\) | sed 's/ [0-9]*\\.[0-9]* *$//' | LC_ALL=C sort | sha256sum; stat -c '%a %U %G' ${root}; ls -A ${root} | sort`,
    );
  const tablesNow = () =>
    sh(
      `mariadb-dump --routines --triggers --events --hex-blob --skip-comments --default-character-set=utf8mb4 ${database} | sed -E 's/DEFINER=[^ *]*//'`,
    );
  const leftovers = async () => ({
    folders: await sh("ls -A /srv/sites"),
    databases: await sh("mariadb -BNe 'SHOW DATABASES' | grep s_ || :"),
    closed: await sh("ls -A /var/lib/chom/maintenance 2>/dev/null || :"),
  });
  const decided = (command: string, input: unknown) => {
    // The commands are chosen by name here, as the engine does.
    for (const event of decide(backups, state(), command as "begin", input as never)) {
      const meta = {
        eventId: `${events.length}`,
        time: new Date(),
        tenant,
        id: siteId,
        position: events.length + 1,
        actor: "tester",
        causationId: "",
        correlationId: "",
      };
      events.push({ ...event, meta });
    }
  };
  const facts = (input: unknown) => ({
    input,
    jobId: "job",
    at: new Date(),
    tenant,
    actor: "tester",
  });

  /** Runs a job as the engine would, with memory between attempts; `undo` is what a permanent failure leads to. */
  function attempt(id: string, memory = new Map<string, FinishedStep>()) {
    runs += 1;
    const settings = {
      id,
      tenant,
      actor: "tester",
      attempt: 1,
      generation: 1,
      fence: `1.${runs}`,
      leaseKeys: [`site.${siteId}`],
      signal: new AbortController().signal,
      mode: "work" as const,
      now: () => new Date(),
      store: {
        remembered: (step: string) => {
          const found = memory.get(step);
          return found && { result: decodeResult(found.result), undoable: found.undoable };
        },
        finishedBefore: () => 0,
        finish: async (step: FinishedStep) => void memory.set(step.step, step),
      },
      servers,
      record: async (_name: string, command: string, input: unknown) => decided(command, input),
      progress: () => {},
    };
    const started = startRun<typeof backups>(settings);
    const undo = async () => {
      const undoing = undoingOf({ ...settings, servers }, settings.signal);
      for (const step of started.undos.toReversed()) await step.undo(undoing);
    };
    return { run: started.run, undo, memory };
  }

  async function backUp(backupId: string, more: Partial<CreateBackupInput> = {}): Promise<Taken> {
    const input: CreateBackupInput = {
      ...place,
      backupId,
      kind: BackupKind.FULL,
      keepUntil: undefined,
      safetyPoint: false,
      ...more,
    };
    decided("begin", facts(input));
    const result = await createBackup(deps).work(input, attempt(backupId).run);
    decided("complete", { ...facts(input), result, durationMs: 1 });
    return result as Taken;
  }
  const restoreInput = (backupId: string, restoreId: string): RestoreBackupInput => ({
    ...place,
    restoreId,
    backupId,
    manifestKey: "",
    acceptNoSafety: false,
  });

  beforeAll(async () => {
    vps = await startVps();
    const raw = Buffer.from(publicKey.export({ format: "jwk" }).x ?? "", "base64url");
    const field = (bytes: Buffer) => Buffer.concat([Buffer.from([0, 0, 0, bytes.length]), bytes]);
    const blob = Buffer.concat([field(Buffer.from("ssh-ed25519")), field(raw)]).toString("base64");
    const line = `ssh-ed25519 ${blob} test`;
    await vps.authorizeKey(line);
    servers = sshServers({
      openSession: async () => ({
        address: vps.address,
        port: vps.sshPort,
        user: vps.user,
        hostKeys: vps.hostKeys,
        publicKeys: [line],
      }),
      sign: async (_owner, _key, data) => sign(null, data, privateKey),
      reportHostKey: async () => {},
      logger: createLogger({ service: "backup", level: "error" }),
    });
    await sh(makeSite);
    await sh(makeContent);
    await sql(makeTables);
  }, 300_000);
  afterAll(async () => {
    await servers?.close();
    await vps?.stop();
    folder.remove();
  });

  test("case 22: what is wiped comes back byte for byte and row for row, and nothing is left beside it", async () => {
    const tree = await treeNow();
    const tables = await tablesNow();
    const taken = await backUp("backup-1");
    expect(taken).toMatchObject({ tablesCount: 6 });
    expect(taken.sizeBytes).toBeGreaterThan(10_000_000);
    const input = { siteId, backupId: "backup-1", manifestKey: "" };
    expect(await verifyBackup(deps).work(input, attempt("verify-1").run)).toMatchObject({
      problem: null,
    });

    await sh(
      `cd ${root} && rm -rf public && mkdir public && printf other >public/index.html && chown -R ${user}:www-data public && chmod 2750 public && printf x >logs/new.log`,
    );
    await sql(
      "SET foreign_key_checks=0; DROP TABLE plain, child; DROP VIEW names; DROP PROCEDURE add_one; INSERT INTO audit VALUES (9); CREATE TABLE later (id INT);",
    );
    const wiped = { tree: await treeNow(), tables: await tablesNow() };
    const { run } = attempt("restore-1");
    const asked = restoreInput("backup-1", "restore-1");
    decided("beginRestore", facts(asked));
    const restored = await restoreBackup(deps).work(asked, run);
    expect(restored).toMatchObject({ tablesCount: 6 });
    expect(await treeNow()).toBe(tree);
    expect(await tablesNow()).toBe(tables);
    expect(wiped).not.toEqual({ tree, tables });
    expect(await sh(`cat ${root}/logs/new.log`)).toBe("x");
    expect(await sh(`curl -s --resolve ${domain}:80:127.0.0.1 http://${domain}/`)).toBe("hello");
    expect(await leftovers()).toEqual({
      folders: `${user}\n`,
      databases: `${database}\n`,
      closed: "",
    });
    expect(Object.values(state().points).filter((point) => point.isSafetyPoint)).toMatchObject([
      { status: "available" },
    ]);
    // What was there before the restore can be brought back too.
    const [safety] = Object.values(state().points).filter((point) => point.isSafetyPoint);
    const back = restoreInput(safety?.backupId ?? "", "restore-2");
    decided("beginRestore", facts(back));
    await restoreBackup(deps).work(back, attempt("restore-2").run);
    expect({ tree: await treeNow(), tables: await tablesNow() }).toEqual(wiped);
    await restoreBackup(deps).work(restoreInput("backup-1", "restore-3"), attempt("restore-3").run);
    expect(await tablesNow()).toBe(tables);
  }, 240_000);

  test("a restored site that fails its smoke test is put back as it was", async () => {
    await sh(
      `: >${root}/public/broken && chown ${user}:www-data ${root}/public/broken && chmod 644 ${root}/public/broken`,
    );
    await backUp("backup-broken");
    await sh(`rm ${root}/public/broken && printf now >${root}/public/index.html`);
    await sql("INSERT INTO parent VALUES (3)");
    const before = { tree: await treeNow(), tables: await tablesNow() };
    const { run, undo } = attempt("restore-4");
    const input = restoreInput("backup-broken", "restore-4");
    decided("beginRestore", facts(input));
    const failure = await restoreBackup(deps)
      .work(input, run)
      .then(
        () => undefined,
        (error: Failure) => error,
      );
    expect(failure).toMatchObject({ code: "restore-verification-failed" });
    expect(await sh(`cat ${root}/public/index.html`)).toBe("hello");
    await undo();
    expect({ tree: await treeNow(), tables: await tablesNow() }).toEqual(before);
    expect(await leftovers()).toEqual({
      folders: `${user}\n`,
      databases: `${database}\n`,
      closed: "",
    });
    await undo();
    expect({ tree: await treeNow(), tables: await tablesNow() }).toEqual(before);
    decided("failRestore", {
      ...facts(input),
      code: failure?.code,
      kind: "permanent",
      message: "",
      attempts: 1,
      undone: true,
    });
    expect(events.at(-1)).toMatchObject({ name: "RestoreRolledBack" });
  }, 240_000);

  test("a swap that is cut in the middle goes on when the run comes back, and goes back when it does not", async () => {
    await backUp("backup-cut");
    await sh(`printf later >${root}/public/index.html`);
    await sql("INSERT INTO parent VALUES (77)");
    const before = { tree: await treeNow(), tables: await tablesNow() };
    const whole = servers;
    // As if the server had died between the two moves of the folders.
    const cutAt = (restoreId: string): Servers => ({
      ...whole,
      run: async (context, script, input) => {
        if (script.name !== "swap-in.sh") return whole.run(context, script, input);
        await sh(
          `printf %s ${restoreId} >${root}.before.restore-id && mv -T ${root} ${root}.before`,
        );
        throw failureOf("ssh-connection-lost", "cut");
      },
    });
    for (const restoreId of ["restore-6", "restore-7"]) {
      const input = restoreInput("backup-cut", restoreId);
      decided("beginRestore", facts(input));
      servers = cutAt(restoreId);
      const first = attempt(restoreId);
      const cut = restoreBackup(deps).work(input, first.run);
      await expect(cut).rejects.toMatchObject({ code: "ssh-connection-lost" });
      servers = whole;
      if (restoreId === "restore-6") {
        await first.undo();
        expect({ tree: await treeNow(), tables: await tablesNow() }).toEqual(before);
      } else await restoreBackup(deps).work(input, attempt(restoreId, first.memory).run);
      expect(await leftovers()).toEqual({
        folders: `${user}\n`,
        databases: `${database}\n`,
        closed: "",
      });
    }
    expect(await sh(`cat ${root}/public/index.html`)).not.toBe("later");
    expect(await sql("SELECT COUNT(*) FROM parent WHERE id = 77")).toContain("0");
  }, 240_000);

  test("case 14, 16: a link out of the site is left out of the restore, and no file is setuid", async () => {
    await sh(
      `ln -sfn /etc/shadow ${root}/public/leak && chown -h ${user}:www-data ${root}/public/leak && chmod 4755 ${root}/public/empty`,
    );
    await backUp("backup-links");
    const input = restoreInput("backup-links", "restore-5");
    decided("beginRestore", facts(input));
    await restoreBackup(deps).work(input, attempt("restore-5").run);
    expect(await sh(`ls ${root}/public | grep -c leak || :`)).toBe("0\n");
    expect(await sh(`stat -c %a ${root}/public/empty`)).toBe("755\n");
    await sh(`chmod 0755 ${root}/public/empty`);
  }, 120_000);

  test("stock tools alone bring the files and the tables back", async () => {
    const taken = await backUp("backup-stock");
    const identity = keys.identities[0]?.reveal() ?? "";
    const key = join(folder.path, "identity");
    writeFileSync(key, `${identity}\n`, { mode: 0o600 });
    await ensureHostProgram("age", "age", () => {});
    await ensureHostProgram("zstd", "zstd", () => {});
    const objects = join(folder.path, "vault", taken.manifestKey, "..");
    const unpack = (name: string, then: string) =>
      runCommand("bash", [
        "-o",
        "pipefail",
        "-c",
        `age -d -i "$1" "$2" | zstd -dcq | ${then}`,
        "sh",
        key,
        join(objects, name),
      ]);
    const digest = `tar -x --to-stdout ./public/big.bin | sha256sum | cut -c 1-64`;
    const files = await unpack("files.tar.zst.age", digest);
    expect(files).toMatchObject({
      code: 0,
      stdout: await sh(`sha256sum <${root}/public/big.bin | cut -c 1-64`),
    });
    const dump = await unpack("database.sql.zst.age", "cat");
    await sh("mariadb -e 'CREATE DATABASE elsewhere'");
    await sh("mariadb --default-character-set=utf8mb4 elsewhere", dump.stdout);
    const checksum = "CHECKSUM TABLE plain, parent, child, audit EXTENDED";
    const sums = async (name: string) =>
      (await sh(`mariadb -BN ${name} -e '${checksum}'`)).replaceAll(`${name}.`, "");
    expect(await sums("elsewhere")).toBe(await sums(database));
    await sh("mariadb -e 'DROP DATABASE elsewhere'");
  }, 120_000);

  test("case 13, 23: a hostile dump or tar that got past every check reaches nothing outside of staging", async () => {
    const staging = { ...place, restoreId: "restore-8", hasFiles: true, hasDatabase: true };
    runs += 1;
    const context = (step: string) => ({
      tenant,
      jobId: "restore-8",
      fence: `1.${runs}`,
      serverId: "server-1",
      leaseKeys: [`site.${siteId}`],
      step,
      signal: AbortSignal.timeout(60_000),
    });
    await servers.run(context("prepare"), prepareStaging, { ...staging, neededBytes: 1 });
    const outside = "/var/tmp/chom-hostile";
    for (const text of [
      "DROP TABLE mysql.global_priv;\n",
      `SELECT 1 INTO OUTFILE '${outside}';\n`,
      `\\! touch ${outside}\n`,
      `system touch ${outside}\n`,
      `source ${outside}\n`,
      `CREATE DATABASE theirs;\n`,
    ]) {
      const upload = async () => Readable.from([Buffer.from(text)]);
      const loading = servers.transfer(context(text), stageDatabase, staging, { upload });
      await expect(loading, text).rejects.toThrow();
    }
    const tarOf = async (options: string) =>
      Buffer.from(
        await sh(`cd /var/tmp && echo x >evil && tar ${options} evil | base64 -w0`),
        "base64",
      );
    for (const options of ["-cP --transform=s,^,../../,", `-cP --transform=s,^,${outside}/,`]) {
      const bytes = await tarOf(options);
      const upload = async () => Readable.from([bytes]);
      await servers.transfer(context(options), stageFiles, staging, { upload }).catch(() => {});
    }
    expect(await sh(`ls -d ${outside} /srv/evil /evil 2>/dev/null || echo none`)).toBe("none\n");
    expect(await sh("mariadb -BNe 'SELECT COUNT(*) > 0 FROM mysql.global_priv'")).toBe("1\n");
    await servers.run(context("discard"), discardStaging, { ...staging, isConfirmed: false });
    expect(await leftovers()).toEqual({
      folders: `${user}\n`,
      databases: `${database}\n`,
      closed: "",
    });
  }, 120_000);

  test("a folder that the site's own user cannot read fails the backup instead of being left out", async () => {
    await sh(
      `mkdir ${root}/public/locked && printf x >${root}/public/locked/f && chmod 0700 ${root}/public/locked`,
    );
    await expect(backUp("backup-locked")).rejects.toMatchObject({ code: "permission-denied" });
    expect(
      (await vault.list(`${tenant}/${siteId}/backup-locked/`)).map(({ key }) =>
        key.includes("manifest"),
      ),
    ).not.toContain(true);
    await sh(`rm -r ${root}/public/locked`);
  }, 60_000);

  test("a database that is gone is missing, not empty", async () => {
    const gone = { databaseName: "s_none" };
    await expect(backUp("backup-gone", gone)).rejects.toMatchObject({ code: "db-missing" });
  }, 60_000);
});
