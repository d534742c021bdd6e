import { headers } from "@nats-io/transport-node";
import { expect, test } from "vitest";
import { headersOf } from "./nats.ts";

const encoded = (made: ReturnType<typeof headers>): string =>
  Buffer.from((made as unknown as { encode(): Uint8Array }).encode()).toString();

test("headers are written as the client library writes them", () => {
  const record = { "Nats-Msg-Id": "a-1", "ce-time": "2026-01-01T00:00:00.000Z", "chom-actor": "" };
  const theirs = headers();
  for (const [name, value] of Object.entries(record)) theirs.set(name, value);
  expect(encoded(headersOf(record))).toBe(encoded(theirs));
});

test("a line break in a header is refused, in its name and in its value", () => {
  for (const bad of ["a\r\nNats-Rollup: all", "a\nb", "a\rb"]) {
    expect(() => headersOf({ "Nats-Msg-Id": bad })).toThrow(TypeError);
    expect(() => headersOf({ [bad]: "a" })).toThrow(TypeError);
  }
});
