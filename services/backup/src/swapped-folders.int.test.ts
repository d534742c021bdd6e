/** A tenant who swaps folders of its site for links, as fast as it can, while root's scripts work there. */
import { generateKeyPairSync, sign } from "node:crypto";
import { text } from "node:stream/consumers";
import { Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { sshServers } from "@chom/shared/script/ssh-servers";
import type { RunContext, Servers } from "@chom/shared/script/servers";
import { createLogger } from "@chom/shared/telemetry/logger";
import { startVps, type Vps, vpsSupport } from "@chom/stack/vps";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import {
  archiveFiles,
  discardStaging,
  prepareStaging,
  stageFiles,
  swapBack,
  swapIn,
} from "./scripts.ts";

const support = await vpsSupport();
if (!support.ok) console.warn(`swapped folders are not tested: ${support.reason}`);

const user = "s-abc123def456";
const root = `/srv/sites/${user}`;
const place = { systemUser: user, rootPath: root, databaseName: "" };
const staging = { ...place, restoreId: "r1", hasFiles: true, hasDatabase: false, phpVersion: "" };

// A neighbour whose files nginx's group may read, and root's own: none of it is the site's.
const makeSite = `
set -eu
for name in ${user} s-neighbour; do
  useradd --home-dir /srv/sites/$name --no-create-home --shell /usr/sbin/nologin $name
  install -d -m 0710 -o $name -g www-data /srv/sites/$name
  install -d -m 2750 -o $name -g www-data /srv/sites/$name/public
done
install -d -m 0700 /srv/outside /srv/outside/deep
for at in /srv/outside /srv/outside/deep /srv/sites/s-neighbour/public; do
  for name in 1 2 3 4 5 6 7 8; do printf OUTSIDE-%s "$at" >$at/$name; done
  chmod 0640 $at/*
done
chown s-neighbour:www-data /srv/sites/s-neighbour/public/*
cd ${root}/public
mkdir -p deep/1
for name in 1 2 3 4 5 6 7 8; do printf inside >deep/$name.txt; printf inside >deep/1/$name; done
ln -s /srv/outside link
ln -s /srv/sites/s-neighbour/public neighbour
chown -hR ${user}:www-data .
`;

// Exchanges a folder and a link at once, again and again, wherever the site has them; and lays links over whatever of
// the site's is in /tmp. 316 is renameat2 (2 is RENAME_EXCHANGE) on x86-64, 276 on arm64.
const swapper = `
my $call = (\`uname -m\` =~ /aarch64/) ? 276 : 316;
my @at = ("${root}/public", "${root}.restore/public", "${root}.before/public");
for (my $n = 0; ; $n++) {
  for my $at (@at) {
    my ($deep, $link) = ("$at/deep", $n % 2 ? "$at/link" : "$at/neighbour");
    syscall($call, -100, $deep, -100, $link, 2);
    syscall($call, -100, $deep, -100, $link, 2) if $n % 3;
  }
  select(undef, undef, undef, 0.001) if $n % 20 == 0;
  if ($n % 50 == 0) {
    for my $note (glob("/tmp/tmp.*/{find,tar,unread}")) { unlink $note; symlink "/srv/outside/1", $note; }
  }
}
`;

describe.skipIf(!support.ok)("folders that are swapped for links during work", () => {
  let vps: Vps;
  let servers: Servers;
  let fence = 0;
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const raw = Buffer.from(publicKey.export({ format: "jwk" }).x ?? "", "base64url");
  const blob = Buffer.concat([Buffer.from("\0\0\0\x0bssh-ed25519\0\0\0\x20", "latin1"), raw]);
  const line = `ssh-ed25519 ${blob.toString("base64")} test`;

  const sh = async (script: string, input?: string) => {
    const { code, stdout, stderr } = await vps.exec(["sh", "-c", script], {
      ...(input === undefined ? {} : { input }),
    });
    if (code !== 0) throw new Error(`${script.slice(0, 200)}: ${stderr}`);
    return stdout;
  };
  const context = (): RunContext => {
    fence += 1;
    return {
      ...{ tenant: "acme", jobId: "job", fence: `1.${fence}`, serverId: "server-1" },
      ...{ leaseKeys: ["site.one"], step: `step-${fence}`, signal: AbortSignal.timeout(60_000) },
    };
  };
  /** Names, kinds, modes, owners, contents and the time of the last read of every file that is not the site's. */
  const outside = () =>
    sh(
      `find /srv/outside /srv/sites/s-neighbour \\( -type f -printf '%A@ ' -o -true \\) -printf '%p %M %u %g %s %T@ %C@\\n' | LC_ALL=C sort`,
    );
  /** What a run may end with; a site that fights its own backup may lose it. */
  const attempted = (run: Promise<unknown>): Promise<string> =>
    run.then(
      () => "done",
      (error: Error) => `${error.message}${error.stack ?? ""}`,
    );

  beforeAll(async () => {
    vps = await startVps();
    await vps.authorizeKey(line);
    servers = sshServers({
      openSession: async () => ({
        ...{ address: vps.address, port: vps.sshPort, user: vps.user },
        ...{ hostKeys: vps.hostKeys, publicKeys: [line] },
      }),
      sign: async (_owner, _key, data) => sign(null, data, privateKey),
      reportHostKey: async () => {},
      logger: createLogger({ service: "backup", level: "error" }),
    });
    await sh(makeSite);
    // A read is seen by its time even where times of reading are kept lazily.
    await sh("find /srv/outside /srv/sites/s-neighbour -exec touch -a -d 2001-01-01 {} +");
    await sh(
      `cat >/root/swap.pl; setpriv --reuid=${user} --regid=${user} --clear-groups setsid perl -e "$(cat /root/swap.pl)" >/dev/null 2>&1 </dev/null & echo $! >/run/swapper.pid`,
      swapper,
    );
  }, 300_000);
  afterEach(async () => {
    // It must have been at work all the time.
    await sh("kill -0 $(cat /run/swapper.pid)");
  });
  afterAll(async () => {
    await vps?.exec(["sh", "-c", "kill $(cat /run/swapper.pid)"]);
    await servers?.close();
    await vps?.stop();
  });

  test("case 15: a backup holds nothing from outside of the site, in its bytes or its words", async () => {
    const before = await outside();
    let done = 0;
    // Most rounds lose against the swapping, and how many depends on the machine: at least one must get through.
    for (let round = 0; round < 6 || (done === 0 && round < 60); round += 1) {
      let archive = "";
      const said = await servers
        .transfer(context(), archiveFiles, place, {
          download: async (stream) => {
            archive = await text(stream);
          },
        })
        .then(
          ({ outputTail }) => outputTail,
          (error: Error) => error.message,
        );
      if (archive.includes("./public/")) done += 1;
      expect(archive).not.toContain("OUTSIDE");
      expect(said).not.toContain("OUTSIDE");
    }
    expect(done).toBeGreaterThan(0);
    expect(await outside()).toBe(before);
  }, 400_000);

  test("case 15: a restore, its way back and its cleaning write and remove nothing outside", async () => {
    const archive = Buffer.from(
      await sh(
        `mkdir -p /root/archive/public/deep/1 && cd /root/archive && for n in 1 2 3 4 5 6 7 8; do echo new >public/deep/$n; echo new >public/deep/1/$n; done; ln -sfn deep public/link; ln -sfn deep public/neighbour; tar -cz . | base64 -w 0`,
      ),
      "base64",
    );
    const before = await outside();
    const ends: string[] = [];
    for (let round = 0; round < 2; round += 1) {
      const at = { ...staging, restoreId: `r${round}` };
      const steps = [
        () => servers.run(context(), prepareStaging, { ...at, neededBytes: 1 }),
        () =>
          servers.transfer(context(), stageFiles, place, {
            upload: async () => Readable.from([archive]).pipe(createGunzip()),
          }),
        // Links that lead out are put where the archive's were, for the swapper to use.
        () =>
          sh(
            `cd ${root}.restore/public && setpriv --reuid=${user} --regid=${user} --clear-groups sh -c 'ln -sfnT /srv/outside link; ln -sfnT /srv/sites/s-neighbour/public neighbour' || :`,
          ),
        () =>
          servers.transfer(context(), stageFiles, place, {
            upload: async () => Readable.from([archive]).pipe(createGunzip()),
          }),
        () => servers.run(context(), swapIn, at),
        () =>
          round % 2 === 0
            ? servers.run(context(), swapBack, at)
            : servers.run(context(), discardStaging, { ...at, isConfirmed: true }),
        () => servers.run(context(), discardStaging, { ...at, isConfirmed: false }),
      ];
      for (const step of steps) ends.push(await attempted(step()));
    }
    expect(ends.filter((end) => end === "done").length).toBeGreaterThan(ends.length / 2);
    expect(ends.join("")).not.toContain("OUTSIDE");
    expect(await outside()).toBe(before);
  }, 240_000);
});
