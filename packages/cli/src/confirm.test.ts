import { PassThrough } from "node:stream";
import { classify } from "@chom/shared/failure/failure";
import { expect, test } from "vitest";
import { type Consent, confirmed, type Terminal } from "./confirm.ts";

/** A person who answers each question with the next of these. */
function person(answers: readonly string[]): Terminal & { readonly asked: string[] } {
  const [input, output] = [new PassThrough(), new PassThrough()];
  const asked: string[] = [];
  output.on("data", (text: Buffer) => {
    if (!/[\]:] $/.test(String(text))) return;
    asked.push(String(text));
    input.write(`${answers[asked.length - 1] ?? ""}\n`);
  });
  return { input, output, isTerminal: true, asked };
}
const nobody: Terminal = { ...person([]), isTerminal: false };

type Asked = { count: number; environment?: string; terminal?: Terminal };
const outcome = ({ count, environment, terminal = nobody }: Asked, consent: Consent = {}) =>
  confirmed({ question: "delete them?", count, environment }, consent, terminal).then(
    () => "done",
    (error: unknown) => classify(error).code,
  );
const [few, many] = [
  { count: 100, environment: "production" },
  { count: 101, environment: "production" },
];

test("case 78: many things want the environment's name, typed or given, and another name does nothing", async () => {
  expect(await outcome(many, { force: true })).toBe("confirmation-needed");
  expect(await outcome(many, { force: true, environment: "production" })).toBe("done");
  for (const asked of [few, many, { count: 1 }]) {
    const given = { force: true, environment: "staging" };
    expect(await outcome(asked, given)).toBe("wrong-environment");
  }
  const right = person(["y", "production"]);
  expect(await outcome({ ...many, terminal: right })).toBe("done");
  expect(right.asked).toHaveLength(2);
  for (const name of ["staging", "", "y", "PRODUCTION"]) {
    expect(await outcome({ ...many, terminal: person(["y", name]) })).toBe("not-confirmed");
  }
  expect(await outcome({ ...many, terminal: person(["n"]) })).toBe("not-confirmed");
});

test("case 78: few things, or an environment without a name, want a yes", async () => {
  for (const asked of [few, { count: 5_000 }]) {
    expect(await outcome(asked, { force: true })).toBe("done");
    expect(await outcome(asked)).toBe("confirmation-needed");
    const yes = person(["yes"]);
    expect(await outcome({ ...asked, terminal: yes })).toBe("done");
    expect(yes.asked).toHaveLength(1);
    expect(await outcome({ ...asked, terminal: person([""]) })).toBe("not-confirmed");
  }
});
