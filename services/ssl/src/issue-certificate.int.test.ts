import { generateKeyPairSync, sign } from "node:crypto";
import { get } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { connect } from "node:tls";
import { failureOf } from "@chom/shared/failure/failure";
import type { FinishedStep } from "@chom/shared/job/run-steps";
import type { Script } from "@chom/shared/script/script";
import type { RunContext, Servers } from "@chom/shared/script/servers";
import { sshServers } from "@chom/shared/script/ssh-servers";
import { createLogger } from "@chom/shared/telemetry/logger";
import { fakeRun } from "@chom/shared/testing/fake-run";
import type { ServerCall } from "@chom/shared/testing/fake-servers";
import { type Pebble, startPebble } from "@chom/stack/pebble";
import { startVps, type Vps, vpsSupport } from "@chom/stack/vps";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type AcmeClient, acmeClient } from "./acme/client.ts";
import { newAccountKey } from "./acme/jws.ts";
import { certificate, type InstalledCertificate } from "./certificate.ts";
import { nameServers } from "./dns-check.ts";
import { issueCertificate } from "./issue-certificate.ts";
import type { Outside } from "./obtain-certificate.ts";
import { renewCertificate } from "./renew-certificate.ts";
import { installCertificate, makeKeyAndCsr, putChallenge } from "./scripts.ts";
import type { SiteFacts } from "./site-facts.ts";

const support = await vpsSupport();
if (!support.ok) console.warn(`certificates on a real server are not tested: ${support.reason}`);

const challengeLocation =
  "location ^~ /.well-known/acme-challenge/ { root /var/lib/chom/acme; default_type text/plain; try_files $uri =404; }";
const defaults = `server { listen 80 default_server; server_name _; ${challengeLocation} location / { return 404; } }
server { listen 443 ssl default_server; ssl_reject_handshake on; }
`;
const vhost = (user: string, domain: string) => `server {
  listen 80; server_name ${domain};
  include /etc/nginx/chom/${user}/*.conf;
  # a part of the owner's own
  add_header X-Custom kept always;
  ${challengeLocation}
  location / { return 200 "${user}\\n"; }
}
`;

// biome-ignore lint/suspicious/noExplicitAny: scripts of different inputs by name.
const scripts: Readonly<Record<string, Script<any, unknown>>> = {
  "make-key-and-csr.sh": makeKeyAndCsr,
  "put-challenge.sh": putChallenge,
  "install-certificate.sh": installCertificate,
};

describe.skipIf(!support.ok)("on a real server", () => {
  let vps: Vps;
  let pebble: Pebble;
  let ca: AcmeClient;
  let servers: Servers;
  let runs = 0;

  beforeAll(async () => {
    [vps, pebble] = await Promise.all([
      startVps({ name: "ssl-test" }),
      startPebble({ nonceRejectPercent: 20 }),
    ]);
    ca = acmeClient({
      directoryUrl: pebble.directoryUrl,
      accountKey: newAccountKey(),
      trustedRoots: pebble.ca,
    });
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const raw = publicKey.export({ format: "der", type: "spki" }).subarray(-32);
    const part = (bytes: Buffer) => Buffer.concat([Buffer.from([0, 0, 0, bytes.length]), bytes]);
    const line = `ssh-ed25519 ${Buffer.concat([part(Buffer.from("ssh-ed25519")), part(raw)]).toString("base64")}`;
    await vps.authorizeKey(line);
    const { address, sshPort: port, user, hostKeys } = vps;
    servers = sshServers({
      logger: createLogger({ service: "test", level: "error" }),
      openSession: async () => ({ address, port, user, hostKeys, publicKeys: [line] }),
      sign: async (_owner, _key, data) => sign(null, data, privateKey),
      reportHostKey: async () => {},
    });
    await vps.exec(
      [
        "sh",
        "-c",
        "rm -f /etc/nginx/sites-enabled/default; install -d -m 0755 /var/lib/chom/acme/.well-known/acme-challenge; install -d -m 0700 /etc/chom /etc/chom/tls; cat >/etc/nginx/conf.d/chom-default.conf",
      ],
      { input: defaults },
    );
    for (const [user, domain] of [
      ["s-shop", "shop.test"],
      ["s-blog", "blog.test"],
    ] as const) {
      await addSite(user, domain);
      await pebble.addAddress(domain, address);
    }
    await vps.exec(["nginx", "-t"]);
    await vps.service("nginx", "reload");
  }, 300_000);
  afterAll(async () => {
    ca?.close();
    await servers?.close();
    await pebble?.stop();
    await vps?.stop();
  });

  async function addSite(user: string, domain: string): Promise<void> {
    const setup = `install -d /etc/nginx/chom/${user}; cat >/etc/nginx/sites-available/${user}.conf; ln -sf /etc/nginx/sites-available/${user}.conf /etc/nginx/sites-enabled/`;
    expect((await vps.exec(["sh", "-c", setup], { input: vhost(user, domain) })).code).toBe(0);
  }
  const sh = async (text: string): Promise<string> =>
    (await vps.exec(["sh", "-c", text])).stdout.trim();

  /** A run whose scripts really run on the server. */
  function realRun(
    memory = new Map<string, FinishedStep>(),
    changes: Record<string, unknown> = {},
  ) {
    runs += 1;
    const fence = `1.${runs}`;
    const answerOf = (name: string) => async (input: unknown, call: ServerCall) => {
      const found = scripts[name] ?? expect.unreachable();
      const context: RunContext = { ...call.context, fence, leaseKeys: ["t.site.x"] };
      return (await servers.run(context, found, input)).output;
    };
    const answers = Object.fromEntries(Object.keys(scripts).map((name) => [name, answerOf(name)]));
    return fakeRun(
      { ...answers, ...changes },
      { now: () => new Date(), id: `job-${runs}`, memory },
    );
  }
  const siteOf = (user: string, domain: string): SiteFacts => ({
    status: "provisioned",
    domain,
    serverId: "server-1",
    systemUser: user,
    addresses: [vps.address],
  });
  const outsideOf = (user: string, domain: string, current = certificate.initial()): Outside => ({
    ca,
    dns: nameServers([pebble.dnsAddress]),
    profile: "default",
    siteOf: async () => siteOf(user, domain),
    certificateOf: async () => current,
  });
  const inputOf = (domain: string) => ({ siteId: "site-1", domain, serverId: "server-1" });
  const issue = async (user: string, domain: string, run = realRun()) =>
    (await issueCertificate(outsideOf(user, domain)).work(
      inputOf(domain),
      run,
    )) as InstalledCertificate;

  /** The serial a visitor sees, checked against the CA's root; undefined when the handshake is refused. */
  async function serialOnWire(domain: string): Promise<string | undefined> {
    const root = await pebble.issuerRoot();
    return new Promise((answer) => {
      const socket = connect({ host: vps.address, port: 443, servername: domain, ca: root });
      socket.once("secureConnect", () => {
        answer(socket.getPeerCertificate().serialNumber.toLowerCase());
        socket.destroy();
      });
      socket.once("error", () => answer(undefined));
    });
  }
  // A reload of nginx may close a connection that has not asked yet; a browser then asks again, and
  // so does a test that looks all the while (RFC 9110, 9.2.2).
  const statusOf = (domain: string) =>
    new Promise<{ status: number | undefined; custom: unknown }>((answer, refuse) => {
      get({ host: vps.address, headers: { host: domain } }, (response) => {
        response.resume();
        answer({ status: response.statusCode, custom: response.headers["x-custom"] });
      }).on("error", refuse);
    });

  test("a certificate is issued, seen on the wire and trusted; its key never left the server", async () => {
    expect(await serialOnWire("shop.test")).toBeUndefined();
    const run = realRun();
    const made = await issue("s-shop", "shop.test", run);
    expect(await serialOnWire("shop.test")).toBe(made.serial);
    expect(made.renewAt.getTime()).toBeLessThan(made.notAfter.getTime());
    expect(
      await sh(
        "stat -c '%a %U' /etc/chom/tls/s-shop/current/key.pem /etc/chom/tls/s-shop/current/fullchain.pem",
      ),
    ).toBe("600 root\n600 root");
    expect(await statusOf("shop.test")).toEqual({ status: 200, custom: "kept" });
    const key = await sh("sed -n 2p /etc/chom/tls/s-shop/current/key.pem");
    expect(key.length).toBeGreaterThan(40);
    expect(JSON.stringify(made)).not.toContain(key);
  });

  test("a name without TLS is refused on 443, never answered with another site's certificate", async () => {
    expect(await serialOnWire("blog.test")).toBeUndefined();
  });

  test("a run that is repeated from nothing installs the same again and changes nothing", async () => {
    const version = "repeat";
    const context = (step: string): RunContext => ({
      tenant: "t",
      jobId: "job-repeat",
      fence: "9.1",
      serverId: "server-1",
      leaseKeys: ["t.site.r"],
      step,
      signal: AbortSignal.timeout(60_000),
    });
    const input = { systemUser: "s-shop", version, domain: "shop.test" };
    const first = await servers.run(context("one"), makeKeyAndCsr, input);
    const keyOf = () => sh("sha256sum /etc/chom/tls/s-shop/repeat/key.pem");
    const before = await keyOf();
    await servers.run(context("two"), makeKeyAndCsr, input);
    expect(await keyOf()).toBe(before);
    expect(first.output.csr).toContain("BEGIN CERTIFICATE REQUEST");
    const chain = await sh("cat /etc/chom/tls/s-shop/current/fullchain.pem");
    const wrongKey = servers.run(context("three"), installCertificate, {
      ...input,
      chain: `${chain}\n`,
      fingerprint: "00",
    });
    await expect(wrongKey).rejects.toMatchObject({ code: "cert-mismatch" });
    const serial = await serialOnWire("shop.test");
    const current = await sh("readlink /etc/chom/tls/s-shop/current");
    const fingerprint = (
      await sh(
        "openssl x509 -in /etc/chom/tls/s-shop/current/fullchain.pem -noout -fingerprint -sha256",
      )
    )
      .replace(/.*=|:/g, "")
      .toLowerCase();
    const again = await servers.run(context("four"), installCertificate, {
      ...input,
      version: current,
      chain: `${chain}\n`,
      fingerprint,
    });
    expect(again.output).toEqual({ changed: false });
    expect(await serialOnWire("shop.test")).toBe(serial);
  });

  test("an installation that nginx does not serve goes back, and other sites are served all the while", async () => {
    const blog = await issue("s-blog", "blog.test");
    const before = await serialOnWire("shop.test");
    const version = await sh("readlink /etc/chom/tls/s-shop/current");
    const lie = {
      "install-certificate.sh": async (input: unknown, call: ServerCall) => {
        const context = { ...call.context, fence: `1.${runs}`, leaseKeys: ["t.site.x"] };
        // The right chain, but another certificate is waited for on the wire.
        return (
          await servers.run(context, installCertificate, {
            ...(input as Parameters<typeof installCertificate.variables>[0]),
            fingerprint: "ab".repeat(32),
          })
        ).output;
      },
    };
    const end = issue("s-shop", "shop.test", realRun(new Map(), lie));
    let isOver = false;
    const looking = (async () => {
      const seen = new Set<unknown>();
      while (!isOver) {
        seen.add((await serialOnWire("blog.test")) ?? (await serialOnWire("blog.test")));
        seen.add((await statusOf("shop.test").catch(() => statusOf("shop.test"))).status);
        await pause(100);
      }
      return seen;
    })();
    const [seen] = await Promise.all([
      looking,
      expect(end)
        .rejects.toMatchObject({ code: "cert-deploy-failed", kind: "transient" })
        .finally(() => {
          isOver = true;
        }),
    ]);
    expect(seen).toEqual(new Set([blog.serial, 200]));
    expect(await serialOnWire("shop.test")).toBe(before);
    expect(await sh("readlink /etc/chom/tls/s-shop/current")).toBe(version);
    expect(await serialOnWire("blog.test")).toBe(blog.serial);
  });

  test("a configuration that somebody else broke is theirs: nothing of ours stays, sites are served on", async () => {
    await addSite("s-late", "late.test");
    await pebble.addAddress("late.test", vps.address);
    await vps.service("nginx", "reload");
    await sh("echo 'nonsense here;' >/etc/nginx/conf.d/zz-foreign.conf");
    await expect(issue("s-late", "late.test")).rejects.toMatchObject({
      code: "nginx-foreign-config",
      kind: "operator",
    });
    expect(await sh("ls /etc/nginx/chom/s-late")).toBe("");
    expect(await statusOf("shop.test")).toMatchObject({ status: 200 });
    await sh("rm /etc/nginx/conf.d/zz-foreign.conf");
    const made = await issue("s-late", "late.test");
    expect(await serialOnWire("late.test")).toBe(made.serial);
  });

  test("a renewal replaces the certificate on the wire with one of a new key", async () => {
    const first = await issue("s-shop", "shop.test");
    const before = await sh("sha256sum </etc/chom/tls/s-shop/current/key.pem");
    const current = { ...certificate.initial(), ...first, status: "active" as const };
    const { work } = renewCertificate(outsideOf("s-shop", "shop.test", current));
    const input = {
      ...inputOf("shop.test"),
      serial: first.serial,
      ariId: first.ariId,
      force: true,
    };
    const next = (await work(input, realRun())) as InstalledCertificate;
    expect(next.serial).not.toBe(first.serial);
    expect(await serialOnWire("shop.test")).toBe(next.serial);
    expect(await sh("sha256sum </etc/chom/tls/s-shop/current/key.pem")).not.toBe(before);
  });

  test("a run cut before its installation goes on with the same order and the same key", async () => {
    const memory = new Map<string, FinishedStep>();
    const cut = { "install-certificate.sh": failureOf("ssh-connection-lost", "cut") };
    const run = realRun(memory, cut);
    await expect(issue("s-blog", "blog.test", run)).rejects.toMatchObject({
      code: "ssh-connection-lost",
    });
    const orders = () => pebble.log().split("Added order").length;
    const before = orders();
    const again = realRun(memory);
    const made = await issue("s-blog", "blog.test", { ...again, id: run.id });
    expect(await serialOnWire("blog.test")).toBe(made.serial);
    expect(orders()).toBe(before);
  });

  test("a name that points elsewhere waits, and the CA is not asked", async () => {
    await pebble.addAddress("moved.test", "127.0.0.9");
    const before = pebble.log().split("Added order").length;
    expect(
      await issueCertificate(outsideOf("s-shop", "moved.test")).work(
        inputOf("moved.test"),
        realRun(),
      ),
    ).toMatchObject({ outcome: "deferred", code: "dns-not-pointed" });
    expect(pebble.log().split("Added order").length).toBe(before);
  });
});
