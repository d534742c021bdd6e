/** The payload of an age file as streams: 64 KiB chunks of ChaCha20-Poly1305, each bound to its place and to the end. */
import crypto from "node:crypto";
import { Transform } from "node:stream";
import type { Secret } from "../secrets/secret.ts";
import { openFileKey, payloadKey, seal, sealFileKey, unseal } from "./age-file.ts";
import { headerEnd, notAuthentic } from "./age-header.ts";

const chunkBytes = 64 * 1024;
const tagBytes = 16;
const nonceBytes = 16;
const highWaterMark = 256 * 1024;

/** Encrypts for every recipient. Memory: about one chunk plus the stream's buffers, whatever the length. */
export function ageEncrypt(recipients: readonly string[]): Transform {
  const { header, fileKey } = sealFileKey(recipients);
  const nonce = crypto.randomBytes(nonceBytes);
  const key = payloadKey(fileKey, nonce);
  // Only the end tells which chunk is the last, so one byte more is awaited before a chunk leaves.
  const cut = cutter(chunkBytes, 1);
  let count = 0;
  const next = (chunk: Buffer, isLast: boolean): Buffer =>
    seal(key, chunkNonce(count++, isLast), chunk);
  const stream = new Transform({
    highWaterMark,
    transform(data: Buffer, _encoding, done) {
      for (const chunk of cut.add(data)) this.push(next(chunk, false));
      done();
    },
    flush(done) {
      this.push(next(cut.rest(), true));
      done();
    },
  });
  stream.push(Buffer.concat([header, nonce]));
  return stream;
}

/**
 * Decrypts with any of the identities. Only authenticated bytes come out, but the whole is authentic only when the
 * stream ends without error: `archive-not-authentic` for truncation, reordering, trailing data, flipped bits and
 * foreign recipients. Nothing may be called restored before that end.
 */
export function ageDecrypt(identities: readonly Secret[]): Transform {
  let head: Buffer = Buffer.alloc(0);
  let payload: Payload | undefined;
  const take = (data: Buffer, push: Push): void => {
    if (payload !== undefined) {
      payload.add(data, push);
      return;
    }
    head = Buffer.concat([head, data]);
    const end = headerEnd(head);
    if (end === 0 || head.length < end + nonceBytes) return;
    const fileKey = openFileKey(head.subarray(0, end), identities);
    payload = openPayload(payloadKey(fileKey, head.subarray(end, end + nonceBytes)));
    payload.add(head.subarray(end + nonceBytes), push);
  };
  return new Transform({
    highWaterMark,
    transform(data: Buffer, _encoding, done) {
      settle(done, () => take(data, (plain) => this.push(plain)));
    },
    flush(done) {
      settle(done, () => {
        if (payload === undefined) throw notAuthentic("ends inside its header");
        payload.finish((plain) => this.push(plain));
      });
    },
  });
}

type Push = (plain: Buffer) => void;
type Payload = {
  add: (data: Buffer, push: Push) => void;
  finish: (push: Push) => void;
};

/**
 * Hands every chunk on as soon as it is proven, as the format's own implementation does. A full chunk is first tried
 * as one of many, then as the last.
 */
function openPayload(key: Buffer): Payload {
  const cut = cutter(chunkBytes + tagBytes);
  let count = 0;
  let isOver = false;
  const open = (chunk: Buffer, isLast: boolean): Buffer | undefined =>
    unseal(key, chunkNonce(count, isLast), chunk);
  const take = (chunk: Buffer, push: Push): void => {
    if (isOver) throw notAuthentic("goes on after its end");
    let plain = chunk.length === chunkBytes + tagBytes ? open(chunk, false) : undefined;
    if (plain === undefined) {
      plain = open(chunk, true);
      isOver = true;
    }
    if (plain === undefined) throw notAuthentic(`is damaged or cut off at chunk ${count}`);
    if (plain.length === 0 && count > 0) throw notAuthentic("ends with an empty chunk");
    count += 1;
    if (plain.length > 0) push(plain);
  };
  return {
    add: (data, push) => {
      for (const chunk of cut.add(data)) take(chunk, push);
    },
    finish: (push) => {
      const rest = cut.rest();
      if (rest.length > 0 || !isOver) take(rest, push);
      if (!isOver) throw notAuthentic("has no end");
    },
  };
}

/** Cuts a stream into pieces of exactly `size`; a piece leaves only when `hold` more bytes have come behind it. */
function cutter(size: number, hold = 0) {
  let held: Buffer[] = [];
  let heldBytes = 0;
  const add = (data: Buffer): Buffer[] => {
    const pieces: Buffer[] = [];
    let at = 0;
    while (heldBytes + data.length - at >= size + hold) {
      const next = at + size - heldBytes;
      const part = data.subarray(at, next);
      pieces.push(heldBytes === 0 ? part : Buffer.concat([...held, part], size));
      held = [];
      heldBytes = 0;
      at = next;
    }
    if (at < data.length) held.push(data.subarray(at));
    heldBytes += data.length - at;
    return pieces;
  };
  return { add, rest: (): Buffer => Buffer.concat(held, heldBytes) };
}

/** Nonces count the chunks in 11 bytes; the twelfth says whether this is the last one. */
function chunkNonce(count: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(count, 5, 6);
  nonce[11] = isLast ? 1 : 0;
  return nonce;
}

function settle(done: (error?: Error) => void, work: () => void): void {
  try {
    work();
    done();
  } catch (error) {
    done(error as Error);
  }
}
