/** Who may publish and subscribe to what: least privilege per user, generated from the topology table. */
import type { ConsumerSettings } from "./consumers.ts";
import { aggregatesOf, type Family, inboxPrefix, isFamily, type User, users } from "./names.ts";
import type { Topology } from "./topology.ts";

export type Permissions = {
  readonly publish: readonly string[];
  readonly subscribe: readonly string[];
};

const api = (verb: string): string => `$JS.API.${verb}`;

/** Pulling from one consumer. Wildcards match whole tokens only, so consumers are named literally. */
const consuming = ({ stream, name }: ConsumerSettings): string[] => [
  api(`CONSUMER.INFO.${stream}.${name}`),
  api(`CONSUMER.MSG.NEXT.${stream}.${name}`),
  `$JS.ACK.${stream}.${name}.>`,
  // The longer form of acknowledgement subjects, a flag in 2.14 and later the default.
  `$JS.ACK.*.*.${stream}.${name}.>`,
];

/** Reading any message of a stream; the second form is the leader's, never stale. */
const reading = (stream: string): string[] => [
  api(`DIRECT.GET.${stream}`),
  api(`DIRECT.GET.${stream}.>`),
  api(`STREAM.MSG.GET.${stream}`),
];

/** Adding to anybody's audit, behind its last entry: the one thing of it that a writer may read. */
const auditing: readonly string[] = ["audit.*", api("DIRECT.GET.AUDIT.audit.*")];

const inspecting = ({ streams }: Topology): string[] => [
  api("INFO"),
  ...streams.map(({ name }) => api(`STREAM.INFO.${name}`)),
];

const ownEvents = (user: User): string[] =>
  (aggregatesOf[user] ?? []).map((aggregate) => `evt.*.${aggregate}.*`);

const ownConsumers = (user: User, { consumers }: Topology): string[] =>
  consumers.filter(({ owner }) => owner === user).flatMap(consuming);

const workConsumers = ({ consumers }: Topology): ConsumerSettings[] =>
  consumers.filter(({ stream, owner }) => stream === "JOBS" && owner !== undefined);

/** Knowing whose API token a call shows, and noting that it was used. */
const tokens: readonly string[] = [...reading("KV_api-tokens"), "$KV.api-token-uses.*"];

/** Tenants' wrapped keys, from the leader only: a replica that lags may still have what was destroyed. */
const keys: readonly string[] = [api("STREAM.MSG.GET.KV_tenant-keys")];

/** Only credentials says what a token may do, shows when it was used, and hands out tenants' keys. */
const issuing = (name: Family): readonly string[] =>
  name === "credentials"
    ? ["$KV.api-tokens.*", ...reading("KV_api-token-uses"), "$KV.tenant-keys.*"]
    : [];

const family = (name: Family, table: Topology): Permissions => ({
  publish: [
    ...inspecting(table),
    ...ownEvents(name),
    `jrn.*.${name}.*`,
    `job.${name}.*.*.*`,
    `sched.${name}.*.*`,
    ...ownConsumers(name, table),
    ...["EVENTS", "JOURNAL", "JOBS", "KV_leases", "KV_limits", "KV_snapshots"].flatMap(reading),
    "$KV.leases.>",
    "$KV.limits.>",
    `$KV.snapshots.${name}.>`,
    ...tokens,
    ...keys,
    ...issuing(name),
    `quar.${name}.*`,
    ...auditing,
  ],
  subscribe: [
    `${inboxPrefix(name)}.>`,
    "live.evt.>",
    `live.jrn.*.${name}.*`,
    "live.lease.>",
    `wake.job.${name}.>`,
  ],
});

const scheduler = (table: Topology): Permissions => ({
  publish: [
    ...inspecting(table),
    ...ownEvents("scheduler"),
    ...ownConsumers("scheduler", table),
    ...["EVENTS", "JOURNAL", "JOBS", "QUARANTINE", "AUDIT", "KV_leases", "KV_snapshots"].flatMap(
      reading,
    ),
    // Depth and age of every queue, and pausing one.
    ...workConsumers(table).flatMap(({ name }) => [
      api(`CONSUMER.INFO.JOBS.${name}`),
      api(`CONSUMER.PAUSE.JOBS.${name}`),
    ]),
    "$KV.leases.>",
    "$KV.snapshots.scheduler.>",
    ...tokens,
    ...keys,
    "quar.scheduler.*",
    ...auditing,
  ],
  subscribe: [`${inboxPrefix("scheduler")}.>`, "live.evt.>", "live.jrn.>", "live.lease.>"],
});

const dashboard = (table: Topology): Permissions => ({
  publish: [
    ...inspecting(table),
    ...workConsumers(table).map(({ name }) => api(`CONSUMER.INFO.JOBS.${name}`)),
    ...["EVENTS", "JOURNAL"].flatMap(reading),
  ],
  subscribe: [`${inboxPrefix("dashboard")}.>`, "live.evt.>", "live.jrn.>"],
});

/** Nobody debugs with keys. */
const isForPeople = (stream: string): boolean => stream !== "KV_tenant-keys";

const operator = (table: Topology): Permissions => ({
  publish: [
    ...inspecting(table),
    api("CONSUMER.INFO.*.*"),
    ...workConsumers(table).flatMap(({ name }) => [
      api(`CONSUMER.PAUSE.JOBS.${name}`),
      api(`CONSUMER.RESET.JOBS.${name}`),
    ]),
    api("STREAM.PURGE.JOBS"),
    ...table.streams
      .map(({ name }) => name)
      .filter(isForPeople)
      .flatMap(reading),
    "job.*.*.*.*",
    ...auditing,
  ],
  subscribe: [`${inboxPrefix("operator")}.>`, "live.evt.>", "live.jrn.>"],
});

/** Writes back what the log has lost, while those who react to events stand still. For the hand of a person only. */
const archivist = ({ consumers }: Topology): Permissions => ({
  publish: [
    api("INFO"),
    api("STREAM.INFO.EVENTS"),
    ...reading("EVENTS"),
    "evt.*.*.*",
    ...consumers
      .filter(({ stream }) => stream === "EVENTS")
      .flatMap(({ name }) => [
        api(`CONSUMER.INFO.EVENTS.${name}`),
        api(`CONSUMER.PAUSE.EVENTS.${name}`),
      ]),
  ],
  subscribe: [`${inboxPrefix("archivist")}.>`],
});

/** What one user may do. Nobody but `topology` may create, change or delete streams and consumers. */
export function permissionsOf(user: User, table: Topology): Permissions {
  if (isFamily(user)) return family(user, table);
  switch (user) {
    case "scheduler":
      return scheduler(table);
    case "dashboard":
      return dashboard(table);
    case "operator":
      return operator(table);
    case "pruner":
      // Purging cannot be limited to subjects, so no service may do it: only who does nothing else.
      return {
        // Without INFO among its imports the broker takes the account for one that JetStream is switched off for.
        publish: [api("INFO"), api("STREAM.INFO.JOURNAL"), api("STREAM.PURGE.JOURNAL")],
        subscribe: [`${inboxPrefix("pruner")}.>`],
      };
    case "archivist":
      return archivist(table);
    case "topology":
      return { publish: [api(">"), "$JS.SNAPSHOT.>"], subscribe: [`${inboxPrefix("topology")}.>`] };
  }
}

/** The whole matrix. */
export const permissionMatrix = (table: Topology): Readonly<Record<User, Permissions>> =>
  Object.fromEntries(users.map((user) => [user, permissionsOf(user, table)])) as Record<
    User,
    Permissions
  >;
