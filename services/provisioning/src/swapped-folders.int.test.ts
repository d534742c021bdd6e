/** A tenant who lays links and swaps folders while its site is set up again or taken away. */
import { Secret } from "@chom/shared/secrets/secret";
import { vpsSupport } from "@chom/stack/vps";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { quarantineFiles } from "./removal-scripts.ts";
import { installLaravel, makeSiteUser } from "./server-scripts.ts";
import { type RealServer, startRealServer } from "./testing/real-server.ts";
import { namesOf } from "./names.ts";

const support = await vpsSupport();
if (!support.ok) console.warn(`swapped folders are not tested: ${support.reason}`);

describe.skipIf(!support.ok)("what a tenant does to its folders meanwhile", () => {
  let server: RealServer;
  const site = namesOf("swapping");
  const neighbour = namesOf("neighbour");
  const sh = (text: string) => server.look("sh", "-c", text);
  const asSite = `setpriv --reuid=${site.systemUser} --regid=${site.systemUser} --clear-groups`;
  /** Everything of root and of the neighbour, with the times at which files were last read. */
  const outside = () =>
    sh(
      `find /srv/outside ${neighbour.rootPath} \\( -type f -printf '%A@ ' -o -true \\) -printf '%p %M %u %g %s %T@ %C@\\n' | LC_ALL=C sort`,
    );

  beforeAll(async () => {
    server = await startRealServer();
    await sh("install -d -m 0755 /srv/sites /var/lib/chom");
    for (const names of [site, neighbour]) await server.run(makeSiteUser, names);
    await sh(`install -d -m 0700 /srv/outside /srv/outside/deep
      for n in 1 2 3 4; do echo OUTSIDE >/srv/outside/$n; echo OUTSIDE >/srv/outside/deep/$n; done
      echo 'KEY=OUTSIDE' >${neighbour.rootPath}/public/env
      chown ${neighbour.systemUser}:www-data ${neighbour.rootPath}/public/env
      chmod 0640 ${neighbour.rootPath}/public/env
      find /srv/outside ${neighbour.rootPath} -exec touch -a -d 2001-01-01 {} +`);
  }, 300_000);
  afterAll(() => server?.stop());

  test("case 15: a link to a neighbour's file in the place of an environment is not read with nginx's group", async () => {
    const before = await outside();
    await sh(`${asSite} sh -c 'cd ${site.rootPath}; mkdir -p releases/r1; : >releases/r1/artisan
      ln -sfn ${neighbour.rootPath}/public/env shared/.env'`);
    const asked = {
      ...site,
      ...{ release: "r1", domain: "swapping.example.com", phpVersion: "8.2" },
      ...{ password: new Secret("Pw1"), socket: "/run/x.sock" },
    };
    await server.run(installLaravel, asked).catch(() => {});
    expect(await sh(`cat ${site.rootPath}/shared/.env 2>/dev/null || :`)).not.toContain("OUTSIDE");
    expect(await outside()).toBe(before);
  }, 60_000);

  test("case 15: a removal over file systems copies the site's own and touches nothing else", async () => {
    await sh("mkdir -p /var/lib/chom/quarantine && mount -t tmpfs tmpfs /var/lib/chom/quarantine");
    await sh(`${asSite} sh -c 'cd ${site.rootPath}/public; mkdir -p deep/deep; ln -sfn /srv/outside link
      for n in 1 2 3 4; do echo inside >deep/$n; echo inside >deep/deep/$n; done'`);
    const before = await outside();
    await sh(`cat >/root/swap.pl <<'P'
my $call = (\`uname -m\` =~ /aarch64/) ? 276 : 316;
my $at = "${site.rootPath}/public";
while (1) { syscall($call, -100, "$at/deep", -100, "$at/link", 2); }
P
      ${asSite} setsid perl -e "$(cat /root/swap.pl)" >/dev/null 2>&1 </dev/null & echo $! >/run/swapper.pid`);
    let moved = false;
    for (let round = 0; round < 8 && !moved; round += 1) {
      // A site that is changed under the copy may fail it; it must not win by that.
      const asked = { ...site, databaseName: "", run: `r${round}`, keepDays: 7 };
      moved = await server.run(quarantineFiles, asked).then(
        (done) => done.moved,
        () => false,
      );
    }
    await sh("kill $(cat /run/swapper.pid)");
    expect(moved).toBe(true);
    expect(await outside()).toBe(before);
    expect(await sh("grep -rl OUTSIDE /var/lib/chom/quarantine || :")).toBe("");
    expect(
      await sh("find /var/lib/chom/quarantine -name index.html -o -name deep | head -n 1"),
    ).not.toBe("");
    await sh("umount /var/lib/chom/quarantine");
  }, 120_000);
});
