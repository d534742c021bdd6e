/** What a service asks of its broker before it starts. It never mends anything itself. */
import { failureOf } from "../failure/failure.ts";
import { api, type Nats } from "../event-log/nats.ts";
import type { User } from "./names.ts";
import {
  consumerName,
  consumerState,
  describe,
  type Difference,
  differencesOf,
  streamName,
  streamState,
} from "./plan.ts";
import { topology } from "./topology.ts";
import { epochKey } from "./topology.ts";

/** Chosen per deployment; a service works with any value. */
const deploymentSettings = ["num_replicas", "max_ack_pending"];
const versionMin = [2, 14] as const;
const remedy = "run `chom topology apply`";

/** True for nats-server 2.14 and newer: older ones silently ignore schedules, TTLs and atomic batches. */
export function isNewEnough(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map((part) => Number.parseInt(part, 10));
  return major > versionMin[0] || (major === versionMin[0] && minor >= versionMin[1]);
}

/**
 * Refuses with Failure `operator` "topology-mismatch", naming the first differences and the remedy, when the broker
 * is too old, has no JetStream, or lacks a stream or one of this user's consumers, or has them otherwise.
 */
export async function checkTopology(nats: Nats, user: User): Promise<void> {
  const version = nats.info?.version ?? "0";
  if (!isNewEnough(version)) {
    throw failureOf(
      "topology-mismatch",
      `nats-server is ${version}, must be ${versionMin.join(".")} or newer: upgrade it`,
    );
  }
  if (nats.info?.jetstream !== true) {
    throw failureOf(
      "topology-mismatch",
      "JetStream is off: switch it on in the broker's configuration",
    );
  }
  const account = await api(nats, "INFO");
  if ("fault" in account) {
    throw failureOf(
      "topology-mismatch",
      `JetStream is not there for this account: ${account.fault.description}`,
    );
  }
  refuse(await differencesFor(nats, user));
}

/**
 * Refuses when a stream or one of this user's consumers is gone. That they are set up otherwise than this build wants
 * is no reason to stop in the middle of the work: a newer build may have been given its topology already.
 */
export async function checkPresence(nats: Nats, user: User): Promise<void> {
  const found = await differencesFor(nats, user);
  refuse(found.filter(({ problem }) => problem === "missing"));
}

function refuse(differences: readonly Difference[]): void {
  if (differences.length === 0) return;
  const shown = differences.slice(0, 5).map(describe).join("; ");
  const more = differences.length > 5 ? ` and ${differences.length - 5} more` : "";
  throw failureOf("topology-mismatch", `the broker is not set up: ${shown}${more}; ${remedy}`);
}

/** What the broker has otherwise than this user needs it. */
export async function differencesFor(nats: Nats, user: User): Promise<Difference[]> {
  const table = topology({ replicas: 1 });
  const differences: Difference[] = [];
  for (const settings of table.streams) {
    const have = await streamState(nats, settings.name);
    const what = streamName(settings);
    differences.push(...differencesOf(what, settings, have?.config, deploymentSettings));
    if (have && have.config.metadata?.[epochKey] === undefined) {
      differences.push({ what, problem: "different", field: epochKey, wanted: "set at creation" });
    }
  }
  for (const consumer of table.consumers.filter(({ owner }) => owner === user)) {
    const have = await consumerState(nats, consumer);
    differences.push(
      ...differencesOf(consumerName(consumer), consumer.config, have?.config, deploymentSettings),
    );
  }
  return differences;
}
