// Who may import whom. House rules 2.3, checked in `pnpm check`.
const pure = "^packages/shared/src/(failure|aggregate)/";
module.exports = {
  forbidden: [
    { name: "no-cycles", severity: "error", from: {}, to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } } },
    {
      name: "pure-concepts-import-only-each-other",
      severity: "error",
      from: { path: pure, pathNot: "test\\.ts$" },
      to: { pathNot: [pure, "^node:", "^(crypto)$"], dependencyTypesNot: ["core"] },
    },
    {
      name: "shared-never-imports-services",
      severity: "error",
      from: { path: "^packages/shared/src/" },
      to: { path: "^services/" },
    },
    {
      name: "only-service-composes-service",
      comment: "Concepts do not know how a process is put together.",
      severity: "error",
      from: { path: "^packages/shared/src/(?!service/|testing/)", pathNot: "\\.test\\.ts$" },
      to: { path: "^packages/shared/src/service/", dependencyTypesNot: ["type-only"] },
    },
    {
      name: "services-meet-only-through-events",
      severity: "error",
      from: { path: "^services/([^/]+)/" },
      to: { path: "^services/", pathNot: "^services/$1/" },
    },
    {
      name: "main-is-imported-by-nobody",
      severity: "error",
      from: {},
      to: { path: "^services/[^/]+/src/main\\.ts$" },
    },
    {
      name: "one-place-for-the-nats-client",
      severity: "error",
      from: { path: "^(packages|services)/", pathNot: ["^packages/shared/src/(event-log|topology|lease|job|reactor)/", "^packages/stack/", "^packages/e2e/", "\\.test\\.ts$"] },
      to: { path: "@nats-io/" },
    },
    {
      name: "testing-stays-in-tests",
      severity: "error",
      from: { path: "^(packages|services)/", pathNot: ["\\.test\\.ts$", "/testing/", "^packages/(e2e|bench)/", "conformance\\.ts$"] },
      to: { path: "^packages/shared/src/testing/" },
    },
    {
      name: "stack-is-for-tests-and-the-demo",
      severity: "error",
      from: { path: "^(services|packages/(shared|cli))/", pathNot: ["\\.test\\.ts$", "/testing/"] },
      to: { path: "^packages/stack/" },
    },
    { name: "resolvable", severity: "error", from: {}, to: { couldNotResolve: true } },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "(^|/)gen/" },
    tsConfig: { fileName: "tsconfig.json" },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { extensions: [".ts", ".js", ".cjs", ".mjs", ".json"], exportsFields: ["exports"], conditionNames: ["import", "node", "default"] },
  },
};
