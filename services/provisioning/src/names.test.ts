import { hashId } from "@chom/shared/aggregate/id";
import { expect, test } from "vitest";
import { namesOf } from "./names.ts";

test("case 05: names fit useradd, MariaDB and nginx whatever the site's id", () => {
  for (const siteId of ["a", "a".repeat(64), hashId("site", "tenant", "request")]) {
    const { systemUser, rootPath, databaseName } = namesOf(siteId);
    expect(systemUser).toMatch(/^s-[a-z0-9]{12}$/);
    expect(databaseName).toMatch(/^s_[a-z0-9]{12}$/);
    expect(rootPath).toBe(`/srv/sites/${systemUser}`);
    expect(namesOf(siteId)).toEqual({ systemUser, rootPath, databaseName });
  }
});

test("ten thousand sites have ten thousand names", () => {
  const ids = Array.from({ length: 10_000 }, (_, n) => `site-${n}`);
  expect(new Set(ids.map((id) => namesOf(id).systemUser)).size).toBe(ids.length);
});
