/** Options of commands that speak to the broker itself, with a seed that no service has. */
import { connectNats, type Nats } from "@chom/shared/event-log/nats";
import { inboxPrefix, type User } from "@chom/shared/topology/names";
import { type Command, Option } from "commander";
import { secretFrom } from "./secret-input.ts";

export type BrokerOptions = {
  json?: boolean;
  natsUrl: string;
  seedFile?: string;
  caFile?: string;
};

/** Connects as a user of the broker for as long as `use` takes. */
export async function withBroker<T>(
  user: User,
  { natsUrl, seedFile, caFile }: BrokerOptions,
  use: (nats: Nats) => Promise<T>,
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

/** Adds them. */
export const broker = (command: Command): Command =>
  command
    .addOption(
      new Option("--nats-url <url>", "the broker").env("CHOM_NATS_URL").makeOptionMandatory(),
    )
    .addOption(
      new Option("--seed-file <file>", "nkey seed of the user; - reads stdin").env(
        "CHOM_NATS_SEED_FILE",
      ),
    )
    .addOption(
      new Option("--ca-file <file>", "CA of the broker, for TLS").env("CHOM_NATS_CA_FILE"),
    );
