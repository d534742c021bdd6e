import { CreateChainRequest } from "@chom/proto/chom/scheduler/v1/flows";
import { ListJobsRequest } from "@chom/proto/chom/jobs/v1/jobs";
import { RegisterServerRequest } from "@chom/proto/chom/credentials/v1/credentials";
import fc from "fast-check";
import { expect, test } from "vitest";

const messages = { CreateChainRequest, ListJobsRequest, RegisterServerRequest };

const varint = (value: number): Buffer => {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
};

/** True when it was read, false when it was refused; anything that is no Error would be neither. */
function isRead(decode: (bytes: Uint8Array) => unknown, bytes: Uint8Array): boolean {
  try {
    decode(bytes);
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(Error);
    return false;
  }
}

test.each(Object.entries(messages))(
  "case 52: any bytes are a %s or are refused",
  (_, { decode }) => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => void isRead(decode, bytes)),
      { numRuns: 20_000 },
    );
    expect(Object.keys(Object.prototype)).toEqual([]);
  },
);

test.each(Object.entries(messages))(
  "case 52: what is cut off, too long or of another wire type is no %s",
  (_, { decode }) => {
    const cut = Buffer.from([0x0a, 0x05, 0x61]);
    const huge = Buffer.concat([Buffer.from([0x0a]), varint(2 ** 31 - 1), Buffer.from("a")]);
    const endless = Buffer.concat([Buffer.from([0x0a]), Buffer.alloc(20, 0xff)]);
    for (const bytes of [cut, huge, endless]) expect(isRead(decode, bytes)).toBe(false);
    // A field of another wire type is skipped, as the format says; it is never read as what it is not.
    expect(isRead(decode, Buffer.from([0x08, 0x01]))).toBe(true);
  },
);

test("case 52: a chain in a chain hundreds of thousands of times over leaves the process alive", () => {
  let bytes: Buffer = Buffer.alloc(0);
  const layers: Buffer[] = [];
  let length = 0;
  for (let depth = 0; depth < 300_000 && length < 1_000_000; depth += 1) {
    const head = Buffer.concat([Buffer.from([0x12]), varint(length)]);
    layers.push(head);
    length += head.length;
  }
  bytes = Buffer.concat(layers.reverse());
  for (const { decode } of Object.values(messages)) isRead(decode, bytes);
  const random = Buffer.alloc(200_000, 0x12);
  for (const { decode } of Object.values(messages)) isRead(decode, random);
  expect(
    isRead(ListJobsRequest.decode, ListJobsRequest.encode(ListJobsRequest.create()).finish()),
  ).toBe(true);
});
