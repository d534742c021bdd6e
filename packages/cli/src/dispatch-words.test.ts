import { expect, test } from "vitest";
import { fieldsIn, wordsToJson } from "./dispatch-words.ts";

const type = "chom.backup.v1.CreateBackupRequest";

test("words become the request's JSON, enums by their endings", () => {
  const words = ["site_id=s-1", "kind=full", "retentionDays=30"];
  expect(wordsToJson(type, words, {})).toEqual({
    siteId: "s-1",
    kind: "BACKUP_KIND_FULL",
    retentionDays: "30",
  });
});

test("words stand over the given input, and a value may hold an equals sign", () => {
  expect(wordsToJson(type, ["reason=a=b"], { reason: "x", siteId: "s" })).toEqual({
    reason: "a=b",
    siteId: "s",
  });
});

test.for([
  ["site", '"site" is no key=value'],
  ["sight=1", "keys are site_id, kind"],
  ["kind=half", "BACKUP_KIND_FULL"],
])("%s is refused with what would do", ([word, why]) => {
  expect(() => wordsToJson(type, [word as string], {})).toThrow(why as string);
});

test("the fields of a request are told without its id", () => {
  expect(fieldsIn(type)).toMatch(/^site_id, kind/);
});
