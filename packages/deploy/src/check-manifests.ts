/** `node packages/deploy/src/check-manifests.ts`: renders every overlay and checks it. Exit 1 names each fault. */
import { fileURLToPath } from "node:url";
import { toStderr } from "@chom/stack/progress";
import { agreementFaults } from "./agreement.ts";
import { render, resolveKustomize } from "./kustomize.ts";
import { notFollowed, notOnOneMachine, rules } from "./rules.ts";
import { checkSchemas } from "./schemas.ts";

const kustomize = await resolveKustomize(toStderr);
const overlays = fileURLToPath(new URL("../../../deploy/k8s/overlays/", import.meta.url));
let faults = 0;
for (const overlay of ["dev", "prod"]) {
  const manifests = await render(kustomize, `${overlays}${overlay}`);
  const schemas = await checkSchemas(manifests);
  const followed = rules.filter(
    ({ ids }) => overlay === "prod" || !ids.some((id) => notOnOneMachine.includes(id)),
  );
  const broken = followed.flatMap(({ ids, says, find }) =>
    find(manifests).map((offender) => `${offender}: ${says} (${ids.join(", ")})`),
  );
  const found = [...schemas.faults, ...broken, ...agreementFaults(manifests)];
  for (const fault of found) console.error(`${overlay}: ${fault}`);
  for (const name of schemas.unchecked) console.log(`${overlay}: ${name} has no schema here`);
  console.log(
    `${overlay}: ${manifests.length} objects, ${followed.length} rules, ${found.length} faults`,
  );
  faults += found.length;
}
for (const [id, why] of Object.entries(notFollowed)) console.log(`not followed: ${id}: ${why}`);
process.exitCode = faults === 0 ? 0 : 1;
