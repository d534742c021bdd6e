/** What the signer denied to whom of late, for alerts: an entry in KV a service that ends by itself. */
import { type Nats, publish, valueOf } from "../event-log/nats.ts";
import { kvSubject } from "../topology/subjects.ts";
import { liveEntries } from "./worker-report.ts";

export type SignerDenials = {
  /** Who asked for what it may not have. */
  readonly service: string;
  readonly count: number;
};

const prefix = "heartbeat.signer";
const ttlSeconds = 600;

/** Tells how often a service was denied a signature; forgotten after ten minutes. Fails with what the broker fails with. */
export async function reportDenials(nats: Nats, denials: SignerDenials): Promise<void> {
  const subject = kvSubject("leases", `${prefix}.${denials.service}`);
  const headers = { "Nats-TTL": `${ttlSeconds}s` };
  valueOf(await publish(nats, subject, JSON.stringify(denials), { headers }), "reporting denials");
}

/** Denials of the last ten minutes. */
export const signerDenials = (nats: Nats): Promise<readonly SignerDenials[]> =>
  liveEntries<SignerDenials>(nats, prefix);
