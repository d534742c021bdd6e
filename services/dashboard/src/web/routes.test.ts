import { expect, test } from "vitest";
import { routes } from "../pages/routes.ts";
import { matchPath } from "./routes.ts";

test("parts of a path are named, decoded, and never empty", () => {
  expect(matchPath("/jobs/:id", "/jobs/a%20b")).toEqual({ id: "a b" });
  expect(matchPath("/jobs/:id", "/jobs/")).toBeUndefined();
  expect(matchPath("/jobs/:id", "/jobs/a/b")).toBeUndefined();
  expect(matchPath("/jobs/:id", "/jobs/%E0%A4%A")).toBeUndefined();
  expect(matchPath("/", "/")).toEqual({});
});

test("each path has one page at most, and one form", () => {
  const kinds = routes.map((route) => `${"act" in route ? "POST" : "GET"} ${route.path}`);
  expect(new Set(kinds).size).toBe(kinds.length);
});
