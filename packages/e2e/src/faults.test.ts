/** What goes wrong at three in the morning, on a real server: killed workers, cut lines, wrong keys, bad files. */
import { BackupKind } from "@chom/proto/chom/backup/v1/backup";
import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import { shortName } from "@chom/stack/demo/event-feed";
import type { ServiceName } from "@chom/stack/service-process";
import { type Vps, vpsSupport } from "@chom/stack/vps";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { jobTimeoutMs, newId, startWorld, type World } from "./world.ts";

const support = await vpsSupport();
if (!support.ok) console.log(`skipped: faults on a real server: ${support.reason}`);

describe.skipIf(!support.ok)("faults on a real server", () => {
  let world: World;
  let vps: Vps;
  let serverId: string;
  beforeAll(async () => {
    world = await startWorld();
    ({ vps, serverId } = await world.addServer());
  });
  afterAll(() => world?.stop());

  const provision = (name: string, sslEnabled = false, kind: SiteKind = SiteKind.PHP) =>
    world.clients.provisioning.provisionSite({
      requestId: newId("provision"),
      domain: `${name}.chom.test`,
      serverId,
      kind,
      phpVersion: "",
      database: kind === SiteKind.PHP,
      sslEnabled,
      reason: "",
      adminEmail: "",
    });
  const until = (name: string, field: string, id: string) =>
    world.feed.until(name, jobTimeoutMs, (data) => data[field] === id);
  const provisioned = async (name: string) => {
    const { siteId } = await provision(name);
    return until("SiteProvisioned", "siteId", siteId);
  };
  const status = async (name: string): Promise<string> => {
    const argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}"];
    return (await vps.exec([...argv, "-H", `Host: ${name}.chom.test`, "http://127.0.0.1/"])).stdout;
  };
  const backUp = (siteId: string) =>
    world.clients.backup.createBackup({
      requestId: newId("backup"),
      siteId,
      kind: BackupKind.FULL,
      retentionDays: 0,
      reason: "",
    });

  /** Kills a service with SIGKILL as soon as a job's journal shows its first finished step, and starts it again. */
  async function killInTheMiddle(service: ServiceName, jobId: string): Promise<void> {
    for await (const { type } of world.clients.watch(jobId)) {
      if (type !== "StepCompleted") continue;
      await world.stack.services[service].kill();
      await world.stack.services[service].restart();
      return;
    }
    throw new Error(`job ${jobId} ended before it could be disturbed`);
  }
  const told = (name: string, field: string, id: string) =>
    world.feed.seen.filter(
      (event) => shortName(event) === name && JSON.parse(event.dataJson)[field] === id,
    ).length;

  // At once: each is mostly the wait for leases of the dead to end.
  describe.concurrent("workers of three families", () => {
    test("a provisioning worker killed in the middle: the site is made once", async () => {
      const { jobId, siteId } = await provision("killed");
      await killInTheMiddle("provisioning", jobId);
      await until("SiteProvisioned", "siteId", siteId);
      expect(told("SiteProvisioned", "siteId", siteId)).toBe(1);
      expect(await status("killed")).toBe("200");
    });

    test("a certificate worker killed in the middle: the certificate is issued once", async () => {
      const site = await provisioned("certified");
      await world.stack.pebble.addAddress("certified.chom.test", vps.address);
      const siteId = String(site["siteId"]);
      const { jobId } = await world.clients.ssl.issueCertificate({
        requestId: newId("cert"),
        siteId,
        reason: "",
      });
      await killInTheMiddle("ssl", jobId);
      await until("CertificateIssued", "siteId", siteId);
      expect(told("CertificateIssued", "siteId", siteId)).toBe(1);
    });

    test("a backup worker killed in the middle of a backup and of a restore: each ends once", async () => {
      const siteId = String((await provisioned("kept"))["siteId"]);
      const { jobId, backupId } = await backUp(siteId);
      await killInTheMiddle("backup", jobId);
      await until("BackupCompleted", "backupId", backupId);
      expect(told("BackupCompleted", "backupId", backupId)).toBe(1);
      const restore = await world.clients.backup.restoreBackup({
        requestId: newId("restore"),
        siteId,
        backupId,
        acceptNoSafety: false,
        reason: "",
      });
      await killInTheMiddle("backup", restore.jobId);
      await until("RestoreCompleted", "restoreId", restore.restoreId);
      expect(told("RestoreCompleted", "restoreId", restore.restoreId)).toBe(1);
      expect(await status("kept")).toBe("200");
    });
  });

  test("a credentials worker killed in the middle of a rotation: one new key, and it works", async () => {
    const { jobId } = await world.clients.credentials.rotateKey({
      requestId: newId("rotate"),
      serverId,
      overlapSeconds: 1n,
      reason: "",
    });
    await killInTheMiddle("credentials", jobId);
    await until("KeyRetired", "serverId", serverId);
    const current = async () => {
      const { server } = await world.clients.credentials.getServer({ serverId, minPosition: 0n });
      return server?.keys.filter((key) => key.status === "KEY_STATUS_CURRENT");
    };
    await expect.poll(current).toHaveLength(1);
    await provisioned("after-rotation");
  });

  test("a line cut in the middle of a job: the job goes on when it is back", async () => {
    const { jobId, siteId } = await provision("cut");
    for await (const { type } of world.clients.watch(jobId)) if (type === "StepCompleted") break;
    await vps.cutNetwork();
    await new Promise((resolve) => setTimeout(resolve, 3_000));
    await vps.restoreNetwork();
    await until("SiteProvisioned", "siteId", siteId);
    expect(told("SiteProvisioned", "siteId", siteId)).toBe(1);
  });

  test("case 28, 29: a server with another host key is refused before any log-in is tried", async () => {
    const authLog = async () => (await vps.exec(["cat", "/var/log/auth.log"])).stdout;
    const before = (await authLog()).match(/Accepted|Failed|publickey/g)?.length ?? 0;
    const { serverId: wrong } = await world.clients.credentials.registerServer({
      requestId: newId("register"),
      name: "impostor",
      address: vps.address,
      port: vps.sshPort,
      user: vps.user,
      hostKeys: [
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGRlYWRiZWVmZGVhZGJlZWZkZWFkYmVlZmRlYWRiZWVm",
      ],
    });
    const install = world.clients.credentials.installKey({
      serverId: wrong,
      oneTimePassword: "never sent",
      oneTimePrivateKey: "",
    });
    await expect(install).rejects.toMatchObject({ code: "ssh-host-key-mismatch" });
    expect((await authLog()).match(/Accepted|Failed|publickey/g)?.length ?? 0).toBe(before);
  });

  test("a broken nginx configuration fails the new site and leaves the others served", async () => {
    await provisioned("stays");
    await vps.exec(["sh", "-c", "echo 'nonsense;' > /etc/nginx/conf.d/zz-broken.conf"]);
    const { siteId, jobId } = await provision("unlucky");
    try {
      for await (const { type } of world.clients.watch(jobId)) {
        if (type === "JobFailed" || type === "JobParked") break;
      }
      expect(await status("stays")).toBe("200");
      expect(told("SiteProvisioned", "siteId", siteId)).toBe(0);
    } finally {
      await vps.exec(["rm", "/etc/nginx/conf.d/zz-broken.conf"]);
    }
    await provisioned("lucky");
  });

  test("a restore that fails its checks leaves the site as it was", async () => {
    const site = await provisioned("rolled");
    const index = `${String(site["rootPath"])}/public/index.php`;
    const write = (text: string) =>
      vps.exec(["sh", "-c", 'printf %s "$2" > "$1"', "sh", index, text]);
    await write("<?php http_response_code(500); die('broken');");
    const siteId = String(site["siteId"]);
    const { backupId } = await backUp(siteId);
    await until("BackupCompleted", "backupId", backupId);
    await write("<?php echo 'healthy';");
    const { restoreId } = await world.clients.backup.restoreBackup({
      requestId: newId("restore"),
      siteId,
      backupId,
      acceptNoSafety: false,
      reason: "",
    });
    await until("RestoreRolledBack", "restoreId", restoreId);
    expect(await status("rolled")).toBe("200");
    expect((await vps.exec(["cat", index])).stdout).toBe("<?php echo 'healthy';");
  });
});
