import { fileURLToPath } from "node:url";
import { silent } from "@chom/stack/progress";
import { beforeAll, describe, expect, it } from "vitest";
import { agreementFaults } from "./agreement.ts";
import { render, resolveKustomize } from "./kustomize.ts";
import type { Manifest } from "./manifest.ts";
import { rules } from "./rules.ts";
import { checkSchemas } from "./schemas.ts";
import { twins } from "./twins.ts";

const overlay = fileURLToPath(new URL("../../../deploy/k8s/overlays/prod", import.meta.url));
let good: Manifest[];

beforeAll(async () => {
  good = await render(await resolveKustomize(silent), overlay);
});

/** A copy of the good manifests with one thing wrong. */
function spoiled(spoil: (manifests: Manifest[]) => void): Manifest[] {
  const copy = structuredClone(good);
  spoil(copy);
  return copy;
}

describe("rules over the overlay for production", () => {
  it.each(rules.map((rule) => [rule.ids[0] as string, rule] as const))(
    "%s finds nothing there, and finds its broken twin",
    (id, { find }) => {
      expect(find(good)).toEqual([]);
      const twin = twins[id];
      if (!twin) throw new Error(`${id} has no broken twin`);
      expect(find(spoiled(twin))).not.toEqual([]);
    },
  );
});

describe("schemas", () => {
  it("a field that does not exist, a value of another type, and a kind that is none are each named", async () => {
    const loose = (all: Manifest[]) => all as unknown as { spec: Record<string, unknown> }[];
    const find = (all: Manifest[], kind: string) =>
      loose(all)[all.findIndex((one) => one.kind === kind)] as { spec: Record<string, unknown> };
    const bad = spoiled((all) => {
      find(all, "Deployment").spec["replica"] = 2;
      find(all, "ScaledObject").spec["maxReplicas"] = 2;
      find(all, "PodDisruptionBudget").spec["maxUnavailable"] = { pods: 1 };
      find(all, "Certificate").spec["secretName"] = 3;
      all.push({ apiVersion: "apps/v1", kind: "Deploiment", metadata: { name: "typo" } });
    });
    const { faults } = await checkSchemas(bad);
    for (const part of [
      '"replica"',
      '"maxReplicas"',
      "maxUnavailable",
      "secretName",
      "no such kind",
    ]) {
      expect(
        faults.some((fault) => fault.includes(part)),
        part,
      ).toBe(true);
    }
    expect(await checkSchemas(good)).toEqual({ faults: [], unchecked: ["Cluster chom-postgres"] });
  });
});

describe("agreement with the code", () => {
  const worker = (all: Manifest[]) =>
    all.find(
      ({ kind, metadata }) => kind === "Deployment" && metadata.name === "ssl-worker",
    ) as unknown as {
      spec: {
        template: {
          spec: { terminationGracePeriodSeconds: number; containers: { env: object[] }[] };
        };
      };
    };
  it.each([
    [
      "a setting that no service has",
      (all: Manifest[]) =>
        worker(all).spec.template.spec.containers[0]?.env.push({ name: "CHOM_TYPO", value: "1" }),
    ],
    [
      "a file that nothing mounts",
      (all: Manifest[]) =>
        worker(all).spec.template.spec.containers[0]?.env.push({
          name: "CHOM_ACME_CA_FILE",
          value: "/nowhere/ca",
        }),
    ],
    [
      "pods that end before they have drained",
      (all: Manifest[]) => {
        worker(all).spec.template.spec.terminationGracePeriodSeconds = 10;
      },
    ],
    [
      "a queue that nothing scales by",
      (all: Manifest[]) => {
        const index = all.findIndex(
          ({ kind, metadata }) => kind === "ScaledObject" && metadata.name === "ssl-worker",
        );
        all.splice(index, 1);
      },
    ],
  ])("%s is named", (_what, spoil) => {
    expect(agreementFaults(good)).toEqual([]);
    expect(agreementFaults(spoiled((all) => void spoil(all)))).not.toEqual([]);
  });
});
