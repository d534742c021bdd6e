/** What an SSH server offers before anything is secret: its greeting and its list of algorithms, read with bounds and judged. */
import { failureOf } from "../failure/failure.ts";
import { scrubLine } from "../secrets/scrub.ts";
import { algorithms, hostKeyAlgorithms } from "./ssh-algorithms.ts";

export type Offer = {
  readonly software: string;
  readonly keyExchanges: readonly string[];
  readonly hostKeys: readonly string[];
  readonly ciphersUp: readonly string[];
  readonly ciphersDown: readonly string[];
  readonly compressionsUp: readonly string[];
  readonly compressionsDown: readonly string[];
};

// RFC 4253, 4.2 and 6.1: an identification of 255 characters, packets of 35,000 bytes. The lines before are free, but not endless.
const maxIdentBytes = 255;
const maxGreetingBytes = 8_192;
const maxPacketBytes = 35_000;
const disconnect = 1;
const keyExchangeInit = 20;
const cookieBytes = 16;

const misbehaves = (what: string) => failureOf("ssh-misbehaving", `the server ${what}`);

export type OfferReader = {
  /**
   * Takes what came; gives the offer once it is whole, and from then on ignores everything. Failure `ssh-misbehaving` for a
   * greeting or offer that is none or too long, `weak-crypto` when another message comes before the offer.
   */
  read(chunk: Buffer): Offer | undefined;
};

/** A reader of one server's first bytes; holds 43 KiB at most. */
export function offerReader(): OfferReader {
  let bytes: Buffer = Buffer.alloc(0);
  let software: string | undefined;
  let done = false;
  return {
    read(chunk) {
      if (done) return undefined;
      bytes = Buffer.concat([bytes, chunk]);
      if (software === undefined) {
        const greeting = greetingOf(bytes);
        if (!greeting) return undefined;
        software = greeting.software;
        bytes = greeting.rest;
      }
      const payload = firstPayload(bytes);
      if (!payload) return undefined;
      done = true;
      bytes = Buffer.alloc(0);
      // A server that says goodbye instead is heard by the client, which tells the reason.
      return payload[0] === disconnect ? undefined : offerOf(software, payload);
    },
  };
}

function greetingOf(bytes: Buffer): { software: string; rest: Buffer } | undefined {
  let at = 0;
  for (;;) {
    const end = bytes.indexOf(10, at);
    const line = bytes.subarray(at, end < 0 ? bytes.length : end);
    const isIdent = line.subarray(0, 4).toString("latin1") === "SSH-";
    if (isIdent && line.length > maxIdentBytes) throw misbehaves("names itself in an endless line");
    if (at + line.length > maxGreetingBytes) throw misbehaves("greets without an end");
    if (end < 0) return undefined;
    if (isIdent) return { software: line.toString("latin1").trim(), rest: bytes.subarray(end + 1) };
    at = end + 1;
  }
}

/** The payload of the first packet, which is not encrypted yet: length, padding length, payload, padding. */
function firstPayload(bytes: Buffer): Buffer | undefined {
  if (bytes.length < 6) return undefined;
  const length = bytes.readUInt32BE(0);
  const padding = bytes.readUInt8(4);
  if (length > maxPacketBytes || padding + 2 > length) throw misbehaves("sends no SSH packets");
  const type = bytes.readUInt8(5);
  if (type !== keyExchangeInit && type !== disconnect) {
    throw failureOf("weak-crypto", `the server sends message ${type} before its offer`);
  }
  if (bytes.length < 4 + length) return undefined;
  return bytes.subarray(5, 4 + length - padding);
}

function offerOf(software: string, payload: Buffer): Offer {
  let at = 1 + cookieBytes;
  const list = (): readonly string[] => {
    const end = at + 4 + (at + 4 <= payload.length ? payload.readUInt32BE(at) : payload.length);
    if (end > payload.length) throw misbehaves("sends an offer that ends early");
    const names = payload.subarray(at + 4, end).toString("latin1");
    at = end;
    return names.split(",");
  };
  const [keyExchanges, hostKeys] = [list(), list()];
  const [ciphersUp, ciphersDown] = [list(), list()];
  list(); // codes for authentication: all our ciphers have their own
  list();
  const [compressionsUp, compressionsDown] = [list(), list()];
  return {
    software,
    keyExchanges,
    hostKeys,
    ciphersUp,
    ciphersDown,
    compressionsUp,
    compressionsDown,
  };
}

const strict = "kex-strict-s-v00@openssh.com";

/** Throws `weak-crypto`, naming what was offered, unless all of the offer's parts hold something strong. Pure. */
export function checkOffer(offer: Offer): void {
  const weak = (what: string, offered: readonly string[]) =>
    failureOf(
      "weak-crypto",
      scrubLine(`${offer.software} has no ${what}; it offers ${offered.join(",")}`),
    );
  const parts: readonly (readonly [string, readonly string[], readonly string[]])[] = [
    ["key exchange that is strong enough", offer.keyExchanges, algorithms.kex],
    [
      "host key algorithm that is strong enough",
      offer.hostKeys,
      Object.values(hostKeyAlgorithms).flat(),
    ],
    ["cipher that is strong enough", offer.ciphersUp, algorithms.cipher],
    ["cipher that is strong enough", offer.ciphersDown, algorithms.cipher],
    ["connection without compression", offer.compressionsUp, algorithms.compress],
    ["connection without compression", offer.compressionsDown, algorithms.compress],
  ];
  for (const [what, offered, ours] of parts) {
    if (!offered.some((name) => ours.includes(name))) throw weak(what, offered);
  }
  // Without it a man in the middle drops messages unseen (CVE-2023-48795); required whatever the cipher.
  if (!offer.keyExchanges.includes(strict)) throw weak("strict key exchange", offer.keyExchanges);
}
