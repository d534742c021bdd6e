import { expect, test } from "vitest";
import { acknowledging } from "./acknowledging.ts";
import type { Nats } from "./nats.ts";

/** A connection that writes down what is sent, and answers requests as told. */
function connection(answer: () => Promise<unknown>) {
  const sent: string[] = [];
  const nats = {
    publish: (subject: string) => void sent.push(subject),
    request(subject: string) {
      sent.push(`${subject}?`);
      return answer();
    },
  } as Pick<Nats, "publish" | "request"> as Nats;
  return { nats, sent };
}

test("a lone acknowledgement is a request", async () => {
  const { nats, sent } = connection(async () => ({}));
  await acknowledging(nats)("a");
  expect(sent).toEqual(["a?"]);
});

test("of several the last one is asked for, and none counts before its answer", async () => {
  const answered = Promise.withResolvers<unknown>();
  const { nats, sent } = connection(() => answered.promise);
  const acknowledge = acknowledging(nats);
  const known: string[] = [];
  const all = ["a", "b", "c"].map(async (reply) => {
    await acknowledge(reply);
    known.push(reply);
  });
  await new Promise(setImmediate);
  expect([sent, known]).toEqual([["a", "b", "c?"], []]);
  answered.resolve({});
  await Promise.all(all);
  expect(known).toEqual(["a", "b", "c"]);
});

test("without an answer all of them fail, and the next ones are sent anew", async () => {
  let isAway = true;
  const { nats, sent } = connection(async () => {
    if (isAway) throw new Error("away");
  });
  const acknowledge = acknowledging(nats);
  const lost = await Promise.allSettled([acknowledge("a"), acknowledge("b")]);
  expect(lost).toMatchObject([
    { status: "rejected", reason: { code: "log-unavailable" } },
    { status: "rejected", reason: { code: "log-unavailable" } },
  ]);
  isAway = false;
  await acknowledge("a");
  expect(sent).toEqual(["a", "b?", "a?"]);
});
