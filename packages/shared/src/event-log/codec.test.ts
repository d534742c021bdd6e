import { randomBytes } from "node:crypto";
import { ServerRegistered } from "@chom/proto/chom/credentials/v1/events";
import { CertificateIssued } from "@chom/proto/chom/ssl/v1/events";
import { expect, test } from "vitest";
import { eventTypes } from "../aggregate/event-types.ts";
import { keyring } from "../secrets/keyring.ts";
import { Secret } from "../secrets/secret.ts";
import { decodeEntry, encodeEvent } from "./codec.ts";
import type { Entry } from "./event-log.ts";

const happened = eventTypes({ ServerRegistered, CertificateIssued });
const sealer = keyring([{ keyId: "k:1", key: new Secret(randomBytes(32)) }], randomBytes);
const address = "198.51.100.7 Zoë";
const registered = () =>
  happened.ServerRegistered(ServerRegistered.fromPartial({ address, port: 22 }));
const place = {
  id: "e1",
  subject: "evt.acme.server.s1",
  time: new Date(0),
  source: "credentials",
  actor: "zoë",
  causationId: "",
  correlationId: "c",
  traceparent: "",
};
const stored = (over: Partial<Entry> = {}): Entry => ({
  ...encodeEvent(registered(), place, sealer),
  sequence: 7,
  ...over,
});

test("personal fields are sealed in the log and open again for their reader", () => {
  const entry = stored();
  expect(entry.body).not.toContain("198.51");
  expect(JSON.parse(entry.body)).toMatchObject({ port: 22 });
  const event = decodeEntry(happened, entry, sealer);
  expect(event?.data).toEqual(registered().data);
  expect(event?.meta).toMatchObject({ tenant: "acme", id: "s1", position: 7, actor: "zoë" });
});

test("a sealed field moved to another event, aggregate or tenant does not open", () => {
  for (const over of [
    { id: "e2" },
    { subject: "evt.acme.server.s2" },
    { subject: "evt.other.server.s1" },
  ]) {
    expect(() => decodeEntry(happened, stored(over), sealer)).toThrow(
      expect.objectContaining({ code: "seal-broken" }),
    );
  }
});

test("times and numbers survive as canonical JSON", () => {
  const notAfter = new Date("2027-02-01T00:00:00.500Z");
  const issued = happened.CertificateIssued(
    CertificateIssued.fromPartial({ notAfter, names: ["a.example"] }),
  );
  const entry = encodeEvent(issued, { ...place, subject: "evt.acme.certificate.s1" }, sealer);
  expect(JSON.parse(entry.body)).toEqual({
    notAfter: "2027-02-01T00:00:00.500Z",
    names: ["a.example"],
  });
  expect(decodeEntry(happened, { ...entry, sequence: 1 }, sealer)?.data).toEqual(issued.data);
});

test("case 53: an event of an unknown type is skipped, even under a known name", () => {
  expect(decodeEntry(happened, stored({ type: "chom.later.v1.Invented" }), sealer)).toBeUndefined();
  expect(
    decodeEntry(happened, stored({ type: "chom.x.v1.ServerRegistered" }), sealer),
  ).toBeUndefined();
  expect(decodeEntry(happened, stored({ type: "constructor" }), sealer)).toBeUndefined();
});

test("case 52: a body that is no such message is undecodable", () => {
  for (const body of ["", "null", "{", '"text"', "[]", '{"address":"unsealed"}']) {
    expect(() => decodeEntry(happened, stored({ body }), sealer), body).toThrow(
      expect.objectContaining({ code: expect.stringMatching(/entry-undecodable|key-missing/) }),
    );
  }
});

test("a secret or an oversized body never becomes an entry", () => {
  const leaky = { ...registered(), data: { address: new Secret("x") } };
  expect(() => encodeEvent(leaky, place, sealer)).toThrow(/Secret/);
  const vast = happened.ServerRegistered(
    ServerRegistered.fromPartial({ name: "x".repeat(300_000) }),
  );
  expect(() => encodeEvent(vast, place, sealer)).toThrow(
    expect.objectContaining({ code: "entry-too-large" }),
  );
  expect(() => encodeEvent(registered(), { ...place, subject: "evt.*.a.b" }, sealer)).toThrow(
    TypeError,
  );
});
