/** The streams and buckets of architecture.md section 3, exactly as the broker stores their settings. */

const secondNs = 1_000_000_000;
const dayNs = 86_400 * secondNs;

/** Settings in the broker's own words, so that a difference can be named field by field. */
export type StreamSettings = { readonly name: string } & Readonly<Record<string, unknown>>;

const common = {
  storage: "file",
  retention: "limits",
  discard: "old",
  max_age: 0,
  max_msgs: -1,
  max_bytes: -1,
  max_msgs_per_subject: -1,
  allow_direct: true,
  allow_rollup_hdrs: false,
  deny_delete: false,
  deny_purge: false,
  compression: "none",
  // Repeated publishes of the same id are absorbed this long; correctness never rests on it.
  duplicate_window: 600 * secondNs,
};

/** Buckets in the form that the KV clients expect; markers tell watchers that a key expired. */
const bucket = (name: string, more: object = {}) => ({
  ...common,
  name: `KV_${name}`,
  subjects: [`$KV.${name}.>`],
  discard: "new",
  max_msgs_per_subject: 1,
  allow_rollup_hdrs: true,
  deny_delete: true,
  allow_msg_ttl: true,
  subject_delete_marker_ttl: 5 * secondNs,
  duplicate_window: 120 * secondNs,
  ...more,
});

const exhausted = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.JOBS.>";
const terminated = "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.JOBS.>";

/** All streams. Only the user `topology` may create or change them. */
export const streams: readonly StreamSettings[] = [
  {
    ...common,
    name: "EVENTS",
    description: "facts of the domain, kept for ever: evt.<tenant>.<aggregate>.<id>",
    subjects: ["evt.*.*.*"],
    allow_atomic: true,
    deny_delete: true,
    deny_purge: true,
    compression: "s2",
    republish: { src: "evt.>", dest: "live.evt.>" },
  },
  {
    ...common,
    name: "JOURNAL",
    description: "one history per job: jrn.<tenant>.<family>.<jobId>; pruned after archiving",
    subjects: ["jrn.*.*.*"],
    allow_atomic: true,
    deny_delete: true,
    compression: "s2",
    republish: { src: "jrn.>", dest: "live.jrn.>" },
  },
  {
    ...common,
    name: "JOBS",
    description: "the work queue: a hint, rebuilt from the journal",
    subjects: ["job.*.*.*.*", "sched.*.*.*"],
    retention: "workqueue",
    max_msgs_per_subject: 1,
    allow_msg_schedules: true,
    allow_msg_ttl: true,
    // Schedules need it: a schedule replaces the one before on its subject.
    allow_rollup_hdrs: true,
    // Short, because an item lost behind a remembered id could not be queued again meanwhile.
    duplicate_window: 120 * secondNs,
    republish: { src: "job.>", dest: "wake.job.>", headers_only: true },
  },
  {
    ...common,
    name: "ADVISORIES",
    description: "items that a work consumer gave up on; the journal decides about them",
    subjects: [exhausted, terminated],
    max_age: 7 * dayNs,
  },
  {
    ...common,
    name: "AUDIT",
    description: "hash-chained record of what people did: audit.<tenant>",
    subjects: ["audit.*"],
    deny_delete: true,
    deny_purge: true,
    compression: "s2",
  },
  {
    ...common,
    name: "QUARANTINE",
    description: "what could not be decoded or failed repeatedly: quar.<service>.<part>",
    subjects: ["quar.*.*"],
    max_age: 90 * dayNs,
    compression: "s2",
  },
  bucket("leases", {
    description: "leases with a time to live, and the tickets of those who wait",
    republish: { src: "$KV.leases.>", dest: "live.lease.>" },
  }),
  bucket("limits", { description: "rate limits" }),
  bucket("api-tokens", { description: "what API tokens may do, by the SHA-256 of each" }),
  bucket("api-token-uses", { description: "when API tokens were used last" }),
  bucket("tenant-keys", { description: "tenants' keys, wrapped; credentials writes them" }),
  bucket("snapshots", { description: "aggregate snapshots; may be lost at any time" }),
];
