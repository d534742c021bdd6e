import { expect, test } from "vitest";
import { noticeOf } from "./notices.ts";

test("an address can ask for known sentences and numbers only", () => {
  const notice = (query: string) => noticeOf(new URLSearchParams(query));
  expect(notice("did=retry&n=2&of=3")).toBe("2 jobs of 3 will run again.");
  expect(notice("did=retry&n=<b>&of=x")).toBe("0 jobs of 0 will run again.");
  expect(notice("did=hello")).toBeUndefined();
  expect(notice("did=toString")).toBeUndefined();
  expect(notice("")).toBeUndefined();
});
