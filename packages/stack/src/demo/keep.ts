/** Leaves a stack running for a person, with what that person needs to reach it. */
import type { EmbeddedStack } from "../embedded-stack.ts";

/** Prints how to reach the stack and never answers; Ctrl-C runs the clean-ups. */
export async function keepRunning(
  stack: EmbeddedStack,
  tenant: string,
  server: { user: string; address: string; port: number; hostKeys: readonly string[] },
): Promise<never> {
  const context = await stack.context(tenant);
  if (stack.dashboard.pid === 0) await stack.dashboard.restart();
  console.error(`
The stack is running; Ctrl-C ends and removes everything. In another terminal:

  export CHOM_CONTEXT_FILE=${context}
  npx -y pnpm@12.21.0 chom site list
  npx -y pnpm@12.21.0 chom events tail

dashboard http://${stack.dashboard.address}, to sign in: cat ${stack.folder}/${tenant}.token
server    ${server.user}@${server.address}:${server.port}
host key  ${server.hostKeys[0]}
NATS      ${stack.nats.url}, seeds in ${stack.folder}
Postgres  ${stack.postgres.url.replace(/:[^:@]*@/, ":…@")}
logs      ${stack.folder}/<service>.log`);
  return new Promise<never>(() => setInterval(() => {}, 60_000));
}
