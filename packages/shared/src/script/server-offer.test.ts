import fc from "fast-check";
import { expect, test } from "vitest";
import { classify, type Failure } from "../failure/failure.ts";
import { sshString } from "../testing/hostile-ssh-server.ts";
import { checkOffer, type Offer, offerReader } from "./server-offer.ts";
import { isShortRsa } from "./ssh-algorithms.ts";

const strict = "kex-strict-s-v00@openssh.com";
const modern = {
  hostKeys: "rsa-sha2-512,rsa-sha2-256,ecdsa-sha2-nistp256,ssh-ed25519",
  ciphers:
    "chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com",
  macs: "umac-64-etm@openssh.com,hmac-sha2-256-etm@openssh.com,hmac-sha1-etm@openssh.com,hmac-sha1",
  compressions: "none,zlib@openssh.com",
};
const groups =
  "ecdh-sha2-nistp256,ecdh-sha2-nistp384,ecdh-sha2-nistp521,diffie-hellman-group-exchange-sha256,diffie-hellman-group16-sha512";

/** The first bytes of a server: its name, then one packet with its lists. */
function firstBytes(kex: string, more: Partial<typeof modern> = {}): Buffer {
  const { hostKeys, ciphers, macs, compressions } = { ...modern, ...more };
  const lists = [kex, hostKeys, ciphers, ciphers, macs, macs, compressions, compressions, "", ""];
  const payload = Buffer.concat([
    ...[Buffer.from([20]), Buffer.alloc(16), ...lists.map((list) => sshString(list))],
    Buffer.alloc(5),
  ]);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(payload.length + 1 + 8);
  head.writeUInt8(8, 4);
  return Buffer.concat([
    Buffer.from("hello\r\nSSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
    ...[head, payload, Buffer.alloc(8)],
  ]);
}
const read = (bytes: Buffer): Offer | undefined => offerReader().read(bytes);
function judge(bytes: Buffer): Pick<Failure, "code" | "message"> {
  try {
    const offer = read(bytes);
    if (offer) checkOffer(offer);
    return { code: offer ? "" : "incomplete", message: "" };
  } catch (error) {
    return classify(error);
  }
}

test.each([
  [
    "Debian 12",
    `sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org,${groups}`,
  ],
  [
    "Debian 13",
    `mlkem768x25519-sha256,sntrup761x25519-sha512,curve25519-sha256,curve25519-sha256@libssh.org,${groups},ext-info-s`,
  ],
  [
    "Ubuntu 22.04",
    `curve25519-sha256,curve25519-sha256@libssh.org,${groups},sntrup761x25519-sha512@openssh.com`,
  ],
  [
    "Ubuntu 24.04",
    `sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org,${groups},ext-info-s`,
  ],
])("case 30: what sshd of %s offers by default is strong enough", (_, kex) => {
  expect(judge(firstBytes(`${kex},${strict}`)).code).toBe("");
});

const good = `curve25519-sha256,${strict}`;
test.each([
  ["no strict key exchange", firstBytes("curve25519-sha256"), "curve25519-sha256"],
  [
    "old groups only",
    firstBytes(`diffie-hellman-group1-sha1,diffie-hellman-group14-sha1,${strict}`),
    "group14-sha1",
  ],
  [
    "host keys with SHA-1 only",
    firstBytes(good, { hostKeys: "ssh-rsa,ssh-dss" }),
    "ssh-rsa,ssh-dss",
  ],
  ["CBC only", firstBytes(good, { ciphers: "aes128-cbc,3des-cbc" }), "aes128-cbc,3des-cbc"],
  [
    "ciphers without their own code only",
    firstBytes(good, { ciphers: "aes256-ctr" }),
    "aes256-ctr",
  ],
  ["compression only", firstBytes(good, { compressions: "zlib" }), "zlib"],
])("case 30: a server with %s is weak, and what it offers is named", (_, bytes, named) => {
  const failure = judge(bytes);
  expect(failure.code).toBe("weak-crypto");
  expect(failure.message).toContain("SSH-2.0-OpenSSH_9.2p1");
  expect(failure.message).toContain(named);
});

test("case 30: a message before the offer is refused, as strict key exchange demands", () => {
  const ignore = Buffer.from([0, 0, 0, 12, 10, 2, ...Buffer.alloc(10)]);
  expect(judge(Buffer.concat([Buffer.from("SSH-2.0-x\r\n"), ignore])).code).toBe("weak-crypto");
});

test("an offer in any pieces is the same offer, and a cut one is none yet", () => {
  const whole = firstBytes(good);
  const pieces = offerReader();
  const found: Offer[] = [];
  for (const byte of whole) {
    const offer = pieces.read(Buffer.from([byte]));
    if (offer) found.push(offer);
  }
  expect(found).toEqual([read(whole)]);
  expect(read(whole.subarray(0, -1))).toBeUndefined();
});

test("case 31: any bytes are an offer, not yet one, or refused with a code", () => {
  const codes = ["", "incomplete", "weak-crypto", "ssh-misbehaving"];
  const name = Buffer.from("SSH-2.0-x\r\n");
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, isNamed) => {
      const all = isNamed ? Buffer.concat([name, bytes]) : Buffer.from(bytes);
      expect(codes).toContain(judge(all).code);
    }),
    { numRuns: 1_000 },
  );
  const changed = fc.tuple(fc.nat(firstBytes(good).length - 1), fc.nat(255));
  fc.assert(
    fc.property(changed, ([at, byte]) => {
      const bytes = firstBytes(good);
      bytes[at] = byte;
      expect(codes).toContain(judge(bytes).code);
    }),
    { numRuns: 1_000 },
  );
});

test("case 30: an RSA host key is long enough from 2048 bits on", () => {
  const key = (bits: number) => {
    const modulus = Buffer.alloc(Math.ceil(bits / 8), 0xff);
    modulus[0] = 0xff >> ((8 - (bits % 8)) % 8);
    const positive = Buffer.concat([Buffer.from([0]), modulus]);
    return Buffer.concat(
      ["ssh-rsa", Buffer.from([1, 0, 1]), positive].map((part) => sshString(part)),
    );
  };
  expect([1_024, 2_047, 2_048, 3_072, 4_096].map((bits) => isShortRsa(key(bits)))).toEqual([
    ...[true, true],
    ...[false, false, false],
  ]);
  expect(isShortRsa(sshString("ssh-ed25519"))).toBe(false);
  expect(isShortRsa(sshString("ssh-rsa"))).toBe(true);
});
