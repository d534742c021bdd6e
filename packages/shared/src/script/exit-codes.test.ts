import { expect, test } from "vitest";
import { codeOfText, failureOfEnding } from "./exit-codes.ts";

const ending = { script: "dump.sh", status: 1, error: undefined, timedOut: false, tail: "" };

test.each([
  [{ error: "db-locked", status: 75, tail: "No space left on device" }, "db-locked", "transient"],
  [{ error: "name-taken", status: 70 }, "name-taken", "permanent"],
  [{ timedOut: true, status: 143, error: "db-locked" }, "step-timeout", "unknown"],
  [{ status: 126 }, "permission-denied", "operator"],
  [{ status: 127 }, "tool-missing", "operator"],
  [{ status: 137, tail: "Permission denied" }, "out-of-memory", "transient"],
  [{ tail: "cp: error writing 'x': No space left on device\n" }, "disk-full", "operator"],
  [{ tail: "write: Disk quota exceeded" }, "quota-full", "operator"],
  [{ tail: "open: Permission denied" }, "permission-denied", "operator"],
  [{ status: 75 }, "unexpected", "transient"],
  [{ error: "Not A Code" }, "protocol-error", "operator"],
  [{ error: "" }, "protocol-error", "operator"],
])("%j is %s, %s", (more, code, kind) => {
  expect(failureOfEnding({ ...ending, ...more })).toMatchObject({ code, kind });
});

test("the message ends with the last line of what was said", () => {
  const { message } = failureOfEnding({ ...ending, error: "db-locked", tail: "one\ntwo\n\n" });
  expect(message).toBe("dump.sh failed with db-locked: two");
  expect(codeOfText("all is well")).toBeUndefined();
});
