/** `pnpm dev`: the embedded stack with one real server, without the demo's story, until Ctrl-C. */
import { randomBytes } from "node:crypto";
import { keepRunning } from "./demo/keep.ts";
import { startEmbeddedStack } from "./embedded-stack.ts";
import { toStderr } from "./progress.ts";
import { startVps, vpsSupport } from "./vps.ts";

const support = await vpsSupport();
if (!support.ok) {
  console.error(
    `a real server needs root on Linux (${support.reason}); use your own with chom server add`,
  );
}
const stack = await startEmbeddedStack({ progress: toStderr });
if (support.ok) {
  const vps = await startVps({ progress: toStderr });
  const password = randomBytes(9).toString("base64url");
  await vps.setPassword(password);
  console.error(`one-time password of ${vps.user}@${vps.address}: ${password}`);
  await keepRunning(stack, "dev", { ...vps, port: vps.sshPort });
}
await keepRunning(stack, "dev", { user: "-", address: "none", port: 0, hostKeys: ["none"] });
