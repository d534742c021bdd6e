/** The directory of tenants' wrapped keys on the broker: written by credentials, read by every service. */
import { KeysServiceService } from "@chom/proto/chom/credentials/v1/keys";
import { getFromLeader, type Nats, publish, valueOf } from "../event-log/nats.ts";
import { transient } from "../failure/failure.ts";
import { isGone } from "../lease/bucket.ts";
import { connectRpc } from "../rpc/client.ts";
import { entryOfText, type KeyEntry } from "../secrets/key-entry.ts";
import type { KeyShelf } from "../secrets/key-issuer.ts";
import type { KeyDirectory } from "../secrets/tenant-keys.ts";
import { kvFilter, kvSubject } from "../topology/subjects.ts";
import type { CommonSettings, Loaded } from "./common-settings.ts";

const bucket = "tenant-keys";
const stream = "KV_tenant-keys";
/** Says that the entry was published as one: what the broker was tricked into storing has no header. */
const writerHeader = "chom-writer";
const wrongSequence = 10071;
const makeMs = 5_000;
/** With more changes than this since the last look, all that is held is brought anew. */
const changesMax = 1_000;

/** An entry's text and revision, from the leader. */
async function read(nats: Nats, tenant: string) {
  const found = await getFromLeader(nats, stream, { last_by_subj: kvSubject(bucket, tenant) });
  const isOurs = found && !isGone(found) && found.header(writerHeader) !== "";
  return { text: isOurs ? found.body : undefined, revision: found?.sequence ?? 0 };
}

/** As credentials uses it; the rollup leaves nothing of earlier entries. */
export const keyShelf = (nats: Nats): KeyShelf => ({
  read: (tenant) => read(nats, tenant),
  parse: entryOfText,
  async put(tenant, text, revision) {
    const headers = {
      [writerHeader]: "credentials",
      "Nats-Rollup": "sub",
      "Nats-Expected-Last-Subject-Sequence": String(revision),
    };
    const answer = await publish(nats, kvSubject(bucket, tenant), text, { headers });
    if ("fault" in answer && answer.fault.code === wrongSequence) return false;
    valueOf(answer, "handing out a tenant's keys");
    return true;
  },
});

async function newest(nats: Nats): Promise<number> {
  const found = await getFromLeader(nats, stream, { last_by_subj: kvFilter(bucket) });
  return found?.sequence ?? 0;
}

async function changes(nats: Nats, after: number | undefined) {
  const revision = await newest(nats);
  // Behind what was seen: the bucket was made anew.
  if (after === undefined || revision < after) return { revision, tenants: "all" as const };
  const tenants = new Set<string>();
  for (let seq = after + 1; seq <= revision; ) {
    if (tenants.size >= changesMax) return { revision, tenants: "all" as const };
    const next = await getFromLeader(nats, stream, { seq, next_by_subj: kvFilter(bucket) });
    if (!next) break;
    tenants.add(next.subject.slice(next.subject.lastIndexOf(".") + 1));
    seq = next.sequence + 1;
  }
  return { revision, tenants: [...tenants] };
}

/** Reads the broker; `make` is asked for a tenant that has no entry. */
export const keyDirectory = (
  nats: Nats,
  make: (tenant: string) => Promise<KeyEntry>,
): KeyDirectory => ({
  async find(tenant) {
    const { text } = await read(nats, tenant);
    return text === undefined ? undefined : entryOfText(text);
  },
  changes: (after) => changes(nats, after),
  make,
});

/** How services other than credentials have a key made. */
export function remoteMaker(
  settings: Pick<CommonSettings, "credentialsAddress">,
  loaded: Pick<Loaded, "tls">,
): { readonly make: (tenant: string) => Promise<KeyEntry>; readonly close: () => void } {
  const { credentialsAddress: address } = settings;
  if (!address) {
    const why = "CHOM_CREDENTIALS_URL is not set: nobody makes keys for new tenants";
    const make = () => Promise.reject(transient("tenant-key-unavailable", why));
    return { make, close: () => {} };
  }
  const tls = loaded.tls ? { tls: loaded.tls } : {};
  const { calls, close } = connectRpc(KeysServiceService, { address, ...tls });
  return {
    async make(tenant) {
      const { entry } = await calls.makeTenantKey({ tenant }, { deadlineMs: makeMs });
      return entryOfText(entry);
    },
    close,
  };
}
