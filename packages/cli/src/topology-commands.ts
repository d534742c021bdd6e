/** `chom topology …`: streams, consumers and buckets of the broker, compared with what the code declares. */
import { apply } from "@chom/shared/topology/apply";
import type { User } from "@chom/shared/topology/names";
import { type Difference, describe, plan } from "@chom/shared/topology/plan";
import { topology } from "@chom/shared/topology/topology";
import { type Command, InvalidArgumentError } from "commander";
import { type BrokerOptions, broker, withBroker } from "./broker-options.ts";
import { leaf, reporting } from "./command.ts";
import { exitCodes } from "./exit-codes.ts";

type Options = BrokerOptions & { user: User; replicas: 1 | 3 };

const withReplicas = (command: Command): Command =>
  broker(command)
    .option("--user <user>", "whose seed it is", "topology")
    .option("--replicas <n>", "of each stream: 1 on a laptop, 3 in production", replicas, 1);

function replicas(text: string): 1 | 3 {
  if (text !== "1" && text !== "3") throw new InvalidArgumentError("must be 1 or 3");
  return text === "1" ? 1 : 3;
}

const shown = (difference: Difference) => ({ ...difference, text: describe(difference) });

/** Adds the group to the program. */
export function topologyCommands(program: Command): void {
  const group = program.command("topology").description("streams and consumers of the broker");
  const example = "--nats-url nats://127.0.0.1:4222 --seed-file topology.nk";
  withReplicas(
    leaf(group, "plan", "Show what apply would change.", `chom topology plan ${example}`),
  ).action((options: Options) =>
    reporting(options, async (output) => {
      const table = topology({ replicas: options.replicas });
      const differences = await withBroker(options.user, options, (nats) => plan(nats, table));
      output.many(differences.map(shown), [["difference", ({ text }) => text]], (row) => row);
    }),
  );
  withReplicas(
    leaf(
      group,
      "check",
      "Exit 1 when the broker differs from the code.",
      `chom topology check ${example}`,
    ),
  ).action((options: Options) =>
    reporting(options, async (output) => {
      const table = topology({ replicas: options.replicas });
      const differences = await withBroker(options.user, options, (nats) => plan(nats, table));
      output.many(differences.map(shown), [["difference", ({ text }) => text]], (row) => row);
      return differences.length === 0 ? exitCodes.ok : exitCodes.failed;
    }),
  );
  withReplicas(
    leaf(
      group,
      "apply",
      "Make the broker as the code declares.",
      `chom topology apply ${example} --replicas 3`,
    ),
  ).action((options: Options) =>
    reporting(options, async (output) => {
      const table = topology({ replicas: options.replicas });
      const changes = await withBroker(options.user, options, (nats) =>
        apply(nats, table, { nowMs: Date.now() }),
      );
      output.many(
        changes,
        [
          ["what", ({ what }) => what],
          ["did", ({ did }) => did],
        ],
        (row) => row,
      );
    }),
  );
}
