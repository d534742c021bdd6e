/** `node packages/deploy/src/make-keys.ts FOLDER [--domain chom.svc.cluster.local] [--replicas 3]` */
import { existsSync, readdirSync } from "node:fs";
import { parseArgs } from "node:util";
import { makeDeploymentKeys } from "./deployment-keys.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    domain: { type: "string", default: "" },
    replicas: { type: "string", default: "1" },
    help: { type: "boolean", default: false },
  },
});
const [folder] = positionals;
if (values.help || !folder || !["1", "3"].includes(values.replicas)) {
  console.error(`Makes the keys, certificates and passwords of a new deployment of CHOM.

  node packages/deploy/src/make-keys.ts FOLDER [--domain DOMAIN] [--replicas 1|3]

FOLDER must be empty or missing. Keep root.key, backup-identity.key and postgres/ away from the machine as well:
without the first nothing sealed opens, without the second no backup does.`);
  process.exit(values.help ? 0 : 2);
}
if (existsSync(folder) && readdirSync(folder).length > 0) {
  console.error(
    `${folder} holds something already; keys that are made anew open nothing that was sealed before`,
  );
  process.exit(1);
}
await makeDeploymentKeys(folder, {
  domain: values.domain,
  replicas: values.replicas === "3" ? 3 : 1,
  now: new Date(),
});
console.log(
  `keys are in ${folder}; first.token lets you in for 24 hours: make API tokens with it (chom token create)`,
);
