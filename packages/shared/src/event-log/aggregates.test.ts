import { randomBytes } from "node:crypto";
import { CertificateDropped, CertificateRequested } from "@chom/proto/chom/ssl/v1/events";
import { expect, test } from "vitest";
import { aggregate, type Evolve } from "../aggregate/aggregate.ts";
import { eventTypes } from "../aggregate/event-types.ts";
import { rejected } from "../failure/failure.ts";
import { keyring } from "../secrets/keyring.ts";
import { Secret } from "../secrets/secret.ts";
import { handleCommand, type Histories, loadAggregate } from "./aggregates.ts";
import { entryFor } from "./conformance.ts";
import type { EventLog } from "./event-log.ts";
import { memoryLog } from "./memory-log.ts";

const happened = eventTypes({ CertificateRequested, CertificateDropped });
type State = { wanted: readonly string[]; dropped: boolean };
const evolve: Evolve<State, typeof happened> = {
  CertificateRequested: (state, { domain }) => ({ ...state, wanted: [...state.wanted, domain] }),
  CertificateDropped: (state) => ({ ...state, dropped: true }),
};
const request = (domain: string) =>
  happened.CertificateRequested(CertificateRequested.fromPartial({ domain }));
const commands = {
  request(state: State, domain: string) {
    if (state.wanted.includes(domain)) throw rejected("taken", "it is wanted already");
    return request(domain);
  },
  requestMany: (_: State, domains: readonly string[]) => domains.map(request),
  drop: (state: State) =>
    state.dropped ? [] : happened.CertificateDropped(CertificateDropped.fromPartial({})),
};
const certificate = aggregate({
  name: "certificate",
  events: happened,
  initial: (): State => ({ wanted: [], dropped: false }),
  evolve,
  commands,
});

const sealer = keyring([{ keyId: "k", key: new Secret(randomBytes(32)) }], randomBytes);
const setup = (log: EventLog = memoryLog()) => {
  const histories: Histories = { log, sealer, source: "ssl", now: () => new Date(5) };
  const cause = (eventSeed: string) => ({ tenant: "acme", actor: "zoë", eventSeed });
  const asked = (eventSeed: string, domain: string) =>
    handleCommand(histories, {
      of: certificate,
      id: "s1",
      command: "request",
      input: domain,
      cause: cause(eventSeed),
    });
  return { log, histories, cause, asked };
};

test("a command's events are appended with who, when and why", async () => {
  const { log, asked, histories } = setup();
  expect(await asked("seed-1", "a")).toEqual({ position: 1, decided: 1 });
  expect(await log.load("EVENTS", "evt.acme.certificate.s1")).toMatchObject([
    { actor: "zoë", source: "ssl", time: new Date(5), correlationId: "seed-1" },
  ]);
  const { state, sequence } = await loadAggregate(histories, certificate, "acme", "s1");
  expect({ state, sequence }).toEqual({ state: { wanted: ["a"], dropped: false }, sequence: 1 });
  expect((await loadAggregate(histories, certificate, "other", "s1")).sequence).toBe(0);
});

test("case 51: the same seed twice is once, even where the state would now forbid it", async () => {
  const { log, asked, histories, cause } = setup();
  const many = () =>
    handleCommand(histories, {
      of: certificate,
      id: "s1",
      command: "requestMany",
      input: ["b", "c"],
      cause: cause("seed-2"),
    });
  await asked("seed-1", "a");
  const first = await many();
  await asked("seed-3", "d");
  expect(await asked("seed-1", "a")).toEqual({ position: 1, decided: 1 });
  expect(await many()).toEqual(first);
  await expect(asked("seed-4", "a")).rejects.toMatchObject({ code: "taken" });
  expect(await log.load("EVENTS", "evt.acme.certificate.s1")).toHaveLength(4);
});

test("a command with nothing to do answers the state's position", async () => {
  const { histories, cause } = setup();
  const drop = (seed: string) =>
    handleCommand(histories, {
      of: certificate,
      id: "s1",
      command: "drop",
      input: undefined,
      cause: cause(seed),
    });
  await drop("x");
  expect(await drop("y")).toEqual({ position: 1, decided: 0 });
});

/** A log into which somebody else appends just before each of the first appends. */
function contended(times: number): EventLog {
  const log = memoryLog();
  let left = times;
  return {
    ...log,
    append: async (stream, subject, expected, entries) => {
      if (left > 0) {
        left -= 1;
        const last = (await log.last(stream, subject))?.sequence ?? 0;
        await log.append(stream, subject, last, [
          entryFor(subject, `other-${left}`, {
            ...{ source: "ssl", type: CertificateRequested.$type },
            body: JSON.stringify({ domain: `other-${left}` }),
          }),
        ]);
      }
      return log.append(stream, subject, expected, entries);
    },
  };
}

test("a conflict is decided anew, four times over; the fifth is a conflict", async () => {
  expect(await setup(contended(4)).asked("s", "a")).toMatchObject({ decided: 1, position: 5 });
  await expect(setup(contended(5)).asked("s", "a")).rejects.toMatchObject({
    kind: "conflict",
    code: "wrong-sequence",
  });
});

test("case 79: a history with an event of a newer release is read, and not decided upon", async () => {
  const { log, histories, asked } = setup();
  const subject = "evt.acme.certificate.s1";
  await asked("s", "a");
  const type = "chom.ssl.v9.CertificateTransferred";
  await log.append("EVENTS", subject, 1, [entryFor(subject, "new", { type })]);
  const refused = asked("t", "b");
  await expect(refused).rejects.toMatchObject({ code: "newer-history", kind: "operator" });
  await expect(refused).rejects.toThrow(
    `only a release that knows ${type} may change this history`,
  );
  const { state, sequence } = await loadAggregate(histories, certificate, "acme", "s1");
  expect([state.wanted, sequence]).toEqual([["a"], 2]);
  // What was decided before is still answered.
  expect(await asked("s", "a")).toEqual({ position: 1, decided: 1 });
});

test("an entry that is nobody's fact keeps nobody from deciding", async () => {
  const { log, asked } = setup();
  const subject = "evt.acme.certificate.s1";
  await log.append("EVENTS", subject, 0, [entryFor(subject, "echo", { type: "" })]);
  expect(await asked("s", "a")).toEqual({ position: 2, decided: 1 });
});
