/** `chom topology …`: streams, consumers and buckets of the broker, compared with what the code declares. */
import { connectNats } from "@chom/shared/event-log/nats";
import { secretFrom } from "./secret-input.ts";
import { apply } from "@chom/shared/topology/apply";
import { inboxPrefix, type User } from "@chom/shared/topology/names";
import { type Difference, describe, plan } from "@chom/shared/topology/plan";
import { topology } from "@chom/shared/topology/topology";
import { type Command, InvalidArgumentError, Option } from "commander";
import { leaf, reporting } from "./command.ts";
import { exitCodes } from "./exit-codes.ts";

type Options = {
  json?: boolean;
  natsUrl: string;
  seedFile?: string;
  caFile?: string;
  user: User;
  replicas: 1 | 3;
};

async function withBroker<T>(
  { natsUrl, seedFile, caFile, user }: Options,
  use: (nats: Awaited<ReturnType<typeof connectNats>>) => Promise<T>,
): Promise<T> {
  const nats = await connectNats({
    ...{ servers: natsUrl, name: "chom-cli", inboxPrefix: inboxPrefix(user) },
    ...{ seed: seedFile ? secretFrom(seedFile) : undefined, caFile },
  });
  try {
    return await use(nats);
  } finally {
    await nats.close();
  }
}

const broker = (command: Command): Command =>
  command
    .addOption(
      new Option("--nats-url <url>", "the broker").env("CHOM_NATS_URL").makeOptionMandatory(),
    )
    .addOption(
      new Option("--seed-file <file>", "nkey seed of the user; - reads stdin").env(
        "CHOM_NATS_SEED_FILE",
      ),
    )
    .addOption(new Option("--ca-file <file>", "CA of the broker, for TLS").env("CHOM_NATS_CA_FILE"))
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
  broker(
    leaf(group, "plan", "Show what apply would change.", `chom topology plan ${example}`),
  ).action((options: Options) =>
    reporting(options, async (output) => {
      const table = topology({ replicas: options.replicas });
      const differences = await withBroker(options, (nats) => plan(nats, table));
      output.many(differences.map(shown), [["difference", ({ text }) => text]], (row) => row);
    }),
  );
  broker(
    leaf(
      group,
      "check",
      "Exit 1 when the broker differs from the code.",
      `chom topology check ${example}`,
    ),
  ).action((options: Options) =>
    reporting(options, async (output) => {
      const table = topology({ replicas: options.replicas });
      const differences = await withBroker(options, (nats) => plan(nats, table));
      output.many(differences.map(shown), [["difference", ({ text }) => text]], (row) => row);
      return differences.length === 0 ? exitCodes.ok : exitCodes.failed;
    }),
  );
  broker(
    leaf(
      group,
      "apply",
      "Make the broker as the code declares.",
      `chom topology apply ${example} --replicas 3`,
    ),
  ).action((options: Options) =>
    reporting(options, async (output) => {
      const table = topology({ replicas: options.replicas });
      const changes = await withBroker(options, (nats) =>
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
