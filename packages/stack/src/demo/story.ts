/** The main job, told once: register, provision, certify, back up, damage, restore, compare, rotate. */
import { setTimeout as sleep } from "node:timers/promises";
import { BackupKind } from "@chom/proto/chom/backup/v1/backup";
import { SiteKind } from "@chom/proto/chom/provisioning/v1/provisioning";
import type { Clients } from "../clients.ts";
import type { EventFeed } from "./event-feed.ts";
import { fetchOverTls } from "./fetch-over-tls.ts";
import type { Comparison, Duration } from "./report.ts";
import {
  damage,
  differences,
  fillSite,
  type Inside,
  type SitePlace,
  snapshot,
} from "./site-content.ts";

/** The server that the story happens on. */
export type StoryServer = {
  readonly address: string;
  readonly port: number;
  readonly user: string;
  readonly hostKeys: readonly string[];
  readonly oneTimePassword: string;
  readonly inside: Inside;
};

export type Story = {
  readonly clients: Clients;
  readonly feed: EventFeed;
  readonly server: StoryServer;
  readonly domain: string;
  readonly overlapSeconds: number;
  /** Makes the domain point at the server. */
  readonly pointDomain: () => Promise<void>;
  /** PEM of the root that the site's certificate must chain to. */
  readonly issuerRoot: () => Promise<string>;
  readonly newId: (what: string) => string;
  readonly tell: (line: string) => void;
};

export type Told = {
  readonly ids: Readonly<Record<string, string>>;
  readonly comparisons: readonly Comparison[];
  readonly durations: readonly Duration[];
};

const jobTimeoutMs = 180_000;
/** What the page of `fillSite` answers. */
const filledPage = "orders: 503\n";

/** Plays the whole story; throws when a job fails, and answers what was compared otherwise. */
export async function tellStory(story: Story): Promise<Told> {
  const durations: Duration[] = [];
  const comparisons: Comparison[] = [];
  const timed = async <T>(what: string, act: () => Promise<T>): Promise<T> => {
    story.tell(what);
    const startedAt = performance.now();
    const result = await act();
    durations.push({ what, durationMs: Math.round(performance.now() - startedAt) });
    return result;
  };
  const compare = (what: string, held: boolean, detail = "") => {
    comparisons.push({ what, held, detail });
    story.tell(`${held ? "held" : "FAILED"}: ${what}${detail ? ` (${detail})` : ""}`);
  };

  const serverId = await timed("register the server and install its key", () => register(story));
  const { siteId, place } = await timed("provision a PHP site with a database", () =>
    provision(story, serverId),
  );
  await timed("issue its certificate", () => untilOf(story, "CertificateIssued", { siteId }));
  const { inside } = story.server;
  await fillSite(inside, place);

  const page = await timed("fetch it over HTTPS", () => fetchNewPage(story, filledPage));
  compare(
    "HTTPS answers with the issued certificate and the database's rows",
    page.body === filledPage,
    page.body === filledPage ? page.issuer : `${page.status}: ${page.body.slice(0, 200)}`,
  );

  const before = await snapshot(inside, place);
  const backupId = await timed("back it up", () => backUp(story, siteId));
  await damage(inside, place);
  const damaged = await snapshot(inside, place);
  compare(
    "the damage is real",
    damaged.digest !== before.digest,
    `${differences(before, damaged, 1_000).length} differences`,
  );

  await timed("restore it", () => restore(story, siteId, backupId));
  const after = await snapshot(inside, place);
  const different = differences(before, after);
  compare(
    `${before.files.length} lines about files are the same, byte for byte`,
    same(before.files, after.files),
    different[0] ?? "",
  );
  compare(
    `${before.rows.length} lines of rows and definitions are the same`,
    same(before.rows, after.rows),
    different[0] ?? "",
  );
  const again = await fetchPage(story);
  compare("HTTPS answers as before", again.body === page.body && again.serial === page.serial);

  const oldKey = await currentKey(story, serverId);
  const newKeyId = await timed("rotate the server's key", () => rotate(story, serverId));
  const retired = await timed("retire the old key and see it refused", () =>
    untilOf(story, "KeyRetired", { serverId }),
  );
  compare(
    "the server refused a login with the old key",
    retired["keyId"] === oldKey.keyId,
    oldKey.fingerprint,
  );
  const key = await currentKey(story, serverId);
  compare("the new key is the server's key", key.keyId === newKeyId, key.fingerprint);
  await timed("back up once more, with the new key", () => backUp(story, siteId));

  return { ids: { serverId, siteId, backupId, newKeyId }, comparisons, durations };
}

const same = (a: readonly string[], b: readonly string[]): boolean => a.join("\n") === b.join("\n");

const untilOf = (story: Story, name: string, ids: Readonly<Record<string, string>>) =>
  story.feed.until(name, jobTimeoutMs, (data) =>
    Object.entries(ids).every(([field, id]) => data[field] === id),
  );

async function register({ clients, server, newId }: Story): Promise<string> {
  const { serverId } = await clients.credentials.registerServer({
    requestId: newId("register"),
    name: "web1",
    address: server.address,
    port: server.port,
    user: server.user,
    hostKeys: [...server.hostKeys],
  });
  await clients.credentials.installKey(
    {
      serverId,
      oneTimePassword: server.oneTimePassword,
      oneTimePrivateKey: "",
    },
    { deadlineMs: 60_000 },
  );
  return serverId;
}

async function provision(
  story: Story,
  serverId: string,
): Promise<{ siteId: string; place: SitePlace }> {
  await story.pointDomain();
  const { siteId } = await story.clients.provisioning.provisionSite({
    requestId: story.newId("provision"),
    domain: story.domain,
    serverId,
    kind: SiteKind.PHP,
    phpVersion: "",
    adminEmail: "",
    database: true,
    sslEnabled: true,
    reason: "demo",
  });
  const data = await untilOf(story, "SiteProvisioned", { siteId });
  const place = {
    rootPath: String(data["rootPath"]),
    systemUser: String(data["systemUser"]),
    databaseName: String(data["databaseName"]),
  };
  return { siteId, place };
}

const fetchPage = async ({ server, domain, issuerRoot }: Story) =>
  fetchOverTls({ address: server.address, domain, root: await issuerRoot() });

/**
 * The page, once it is the new one; after 5 s what there is. PHP looks whether a file changed every two seconds only
 * (`opcache.revalidate_freq`), and the job that issued the certificate has just fetched the page before.
 */
async function fetchNewPage(story: Story, body: string) {
  let page = await fetchPage(story);
  for (let tries = 0; tries < 20 && page.body !== body; tries += 1) {
    await sleep(250);
    page = await fetchPage(story);
  }
  return page;
}

async function backUp(story: Story, siteId: string): Promise<string> {
  const { backupId } = await story.clients.backup.createBackup({
    requestId: story.newId("backup"),
    siteId,
    kind: BackupKind.FULL,
    retentionDays: 0,
    reason: "demo",
  });
  await untilOf(story, "BackupCompleted", { backupId });
  return backupId;
}

async function restore(story: Story, siteId: string, backupId: string): Promise<void> {
  const { restoreId } = await story.clients.backup.restoreBackup({
    requestId: story.newId("restore"),
    siteId,
    backupId,
    acceptNoSafety: false,
    reason: "demo",
  });
  await untilOf(story, "RestoreCompleted", { restoreId });
}

async function currentKey({ clients }: Story, serverId: string) {
  const { server } = await clients.credentials.getServer({ serverId, minPosition: 0n });
  const key = server?.keys.find(({ status }) => status === "KEY_STATUS_CURRENT");
  if (!key) throw new Error("the server has no current key");
  return key;
}

async function rotate(story: Story, serverId: string): Promise<string> {
  const { jobId } = await story.clients.credentials.rotateKey({
    requestId: story.newId("rotate"),
    serverId,
    overlapSeconds: BigInt(story.overlapSeconds),
    reason: "demo",
  });
  const promoted = await untilOf(story, "KeyPromoted", { serverId, jobId });
  return String(promoted["keyId"]);
}
