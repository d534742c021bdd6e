import { expect, test } from "vitest";
import { differences } from "./documented-dependencies.ts";

const page = "| package | for |\n|---|---|\n| `pino`, `jose` | logs, `not a package` |\n";

test("every runtime dependency has a line, and every line a dependency", () => {
  const manifest = { dependencies: { pino: "1.0.0", "@chom/shared": "workspace:*" } };
  expect(differences([manifest, { optionalDependencies: { jose: "1.0.0" } }], page)).toEqual([]);
  expect(differences([{ dependencies: { left: "1.0.0", pino: "1.0.0" } }], page)).toEqual([
    "jose is used by no package",
    "left has no line",
  ]);
});
