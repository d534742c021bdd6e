/**
 * Copies of whole streams as the broker makes them: messages with their sequences, times and headers, and the consumers
 * with what they have acknowledged. Only the user `topology` may.
 */
import { listen } from "../event-log/inbox.ts";
import { api, ask, type Nats, valueOf } from "../event-log/nats.ts";
import { transient } from "../failure/failure.ts";

/** What the broker says of a stream in a copy, and wants to hear when it is put back. */
export type CopiedStream = {
  readonly config: object;
  readonly state: { readonly last_seq: number };
};

const chunkBytes = 128 * 1024;
/** Without a chunk for so long the copy has failed. */
const quietMs = 30_000;

/** Names of all streams, those of buckets too. */
export async function streamNames(nats: Nats): Promise<string[]> {
  const names: string[] = [];
  for (;;) {
    const page = valueOf(
      await api<{ streams: string[] | null; total: number }>(nats, "STREAM.NAMES", {
        offset: names.length,
      }),
      "listing streams",
    );
    names.push(...(page.streams ?? []));
    if (names.length >= page.total || (page.streams ?? []).length === 0) return names;
  }
}

type Chunk = { readonly data: Uint8Array; readonly reply: string; readonly code: number };

/** Chunks in order; each is acknowledged when the next is asked for, so that no more than a few are on their way. */
function receiving(nats: Nats) {
  const queue: Chunk[] = [];
  let broken: Error | undefined;
  let wake = Promise.withResolvers<void>();
  const { reply, end } = listen(nats, true, (error, message) => {
    if (error) broken = error;
    else {
      const { data, headers } = message;
      queue.push({ data, reply: message.reply ?? "", code: headers?.code ?? 0 });
    }
    wake.resolve();
  });
  async function next(): Promise<Chunk> {
    const late = setTimeout(() => {
      broken = transient("log-unavailable", "the broker's copy stopped in the middle");
      wake.resolve();
    }, quietMs);
    try {
      for (;;) {
        const chunk = queue.shift();
        if (chunk) return chunk;
        if (broken) throw broken;
        await wake.promise;
        wake = Promise.withResolvers<void>();
      }
    } finally {
      clearTimeout(late);
    }
  }
  return { reply, next, end };
}

/** A stream as it is at one moment: what to say when it is put back, and its bytes. Nothing is copied before they are read. */
export async function copyStream(
  nats: Nats,
  name: string,
): Promise<{ stream: CopiedStream; chunks: AsyncIterable<Uint8Array> }> {
  const { reply, next, end } = receiving(nats);
  const ask = { deliver_subject: reply, no_consumers: false, chunk_size: chunkBytes };
  const answer = await api<CopiedStream>(nats, `STREAM.SNAPSHOT.${name}`, ask, 30_000);
  const { config, state } = valueOf(answer, `copying ${name}`);
  async function* chunks() {
    try {
      for (;;) {
        const chunk = await next();
        if (chunk.code >= 400) {
          throw transient("log-unavailable", `copying ${name} ended with ${chunk.code}`);
        }
        if (chunk.data.length === 0) return;
        yield chunk.data;
        if (chunk.reply !== "") nats.publish(chunk.reply);
      }
    } finally {
      end();
    }
  }
  return { stream: { config, state }, chunks: chunks() };
}

/** Puts a stream back; it must not exist. Failure `log-unavailable` when the broker refuses, and then there is none. */
export async function restoreStream(
  nats: Nats,
  name: string,
  stream: CopiedStream,
  chunks: AsyncIterable<Uint8Array>,
): Promise<void> {
  const { config, state } = stream;
  const answer = await api<{ deliver_subject: string }>(
    nats,
    `STREAM.RESTORE.${name}`,
    { config, state },
    30_000,
  );
  const { deliver_subject: into } = valueOf(answer, `restoring ${name}`);
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += chunkBytes) {
      const reply = await ask(nats, into, chunk.subarray(at, at + chunkBytes), {
        timeoutMs: quietMs,
      });
      if (reply.data.length > 0) refuse(reply.string(), name);
    }
  }
  refuse((await ask(nats, into, "", { timeoutMs: 120_000 })).string(), name);
}

/** Throws what the broker says is wrong. */
function refuse(said: string, name: string): void {
  const { error } = JSON.parse(said === "" ? "{}" : said) as { error?: { description: string } };
  if (error) throw transient("log-unavailable", `restoring ${name}: ${error.description}`);
}

/**
 * Makes a restored stream another incarnation: positions behind its end may have been given out before, and fences with
 * them. Answers the new epoch.
 */
export async function renewEpoch(
  nats: Nats,
  name: string,
  key: string,
  epoch: number,
): Promise<void> {
  type Info = { config: { metadata?: Record<string, string> } };
  const info = valueOf(await api<Info>(nats, `STREAM.INFO.${name}`), `asking ${name}`);
  const metadata = { ...info.config.metadata, [key]: String(epoch) };
  valueOf(
    await api(nats, `STREAM.UPDATE.${name}`, { ...info.config, metadata }),
    `renewing ${name}`,
  );
}
