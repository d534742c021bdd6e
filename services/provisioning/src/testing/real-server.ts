/** Test support: a real server with the real transport, and `work` run on it by the engine's own step logic. */
import { sign } from "node:crypto";
import ssh2 from "ssh2";
import type { Job } from "@chom/shared/job/job";
import { type FinishedStep, startRun, type StepStore, undoingOf } from "@chom/shared/job/run-steps";
import { decodeResult } from "@chom/shared/job/step-result";
import type { Script } from "@chom/shared/script/script";
import type { RunContext, Servers } from "@chom/shared/script/servers";
import { sshServers } from "@chom/shared/script/ssh-servers";
import { createLogger } from "@chom/shared/telemetry/logger";
import { startVps, type Vps } from "@chom/stack/vps";

// biome-ignore lint/suspicious/noExplicitAny: any aggregate whatever.
type AnyJobOf<Input, Result> = Job<any, Input, Result>;

export type RealServer = {
  readonly vps: Vps;
  readonly servers: Servers;
  /** Runs one script as a step of its own. */
  run<Input, Output>(script: Script<Input, Output>, input: Input): Promise<Output>;
  /** Runs `work` with nothing remembered; on failure everything is undone before the failure is thrown. */
  work<Input, Result>(job: AnyJobOf<Input, Result>, input: Input): Promise<Result>;
  /** What a program inside prints; throws when it fails. */
  look(...argv: readonly string[]): Promise<string>;
  stop(): Promise<void>;
};

/** The real transport, logging in to one server with a key made for it. */
async function connectTo(vps: Vps): Promise<Servers> {
  const pair = ssh2.utils.generateKeyPairSync("ed25519");
  await vps.authorizeKey(pair.public);
  const parsed = ssh2.utils.parseKey(pair.private);
  if (parsed instanceof Error) throw parsed;
  return sshServers({
    logger: createLogger({ service: "test", level: "silent" }),
    openSession: async () => ({
      address: vps.address,
      port: vps.sshPort,
      user: vps.user,
      hostKeys: vps.hostKeys,
      publicKeys: [pair.public],
    }),
    sign: async (_, __, data) => sign(null, data, parsed.getPrivatePEM()),
    reportHostKey: async () => {},
  });
}

const memoryStore = (): StepStore => {
  const memory = new Map<string, FinishedStep>();
  return {
    remembered(step) {
      const found = memory.get(step);
      return found && { result: decodeResult(found.result), undoable: found.undoable };
    },
    finishedBefore: () => 0,
    async finish(step) {
      memory.set(step.step, step);
    },
  };
};

/** Starts a server that lets one key in, and connects the real transport to it. */
export async function startRealServer(): Promise<RealServer> {
  const vps = await startVps();
  const servers = await connectTo(vps);
  let fence = 0;
  const next = () => {
    fence += 1;
    return { id: `job-${fence}`, fence: `1.${fence}` };
  };
  const context = (): RunContext => ({
    tenant: "tenant-1",
    jobId: "script",
    fence: next().fence,
    serverId: "server-1",
    leaseKeys: ["site.one"],
    step: `step ${fence}`,
    signal: AbortSignal.timeout(60_000),
  });

  async function work<Input, Result>(job: AnyJobOf<Input, Result>, input: Input): Promise<Result> {
    const settings = {
      ...next(),
      tenant: "tenant-1",
      actor: "tester",
      attempt: 1,
      generation: 1,
      leaseKeys: job.exclusive?.(input) ?? [],
      signal: AbortSignal.timeout(120_000),
      mode: "work" as const,
      now: () => new Date(),
      store: memoryStore(),
      servers,
      async record() {},
      progress() {},
    };
    const started = startRun(settings);
    try {
      return (await job.work(input, started.run)) as Result;
    } catch (error) {
      const undoing = undoingOf({ ...settings, mode: "undo" }, settings.signal);
      for (const { undo } of started.undos.toReversed()) await undo(undoing);
      throw error;
    }
  }

  async function look(...argv: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await vps.exec(argv);
    if (code !== 0) throw new Error(`${argv.join(" ")} ended with ${code}: ${stderr}`);
    return stdout;
  }

  return {
    vps,
    servers,
    work,
    look,
    run: async (script, input) => (await servers.run(context(), script, input)).output,
    async stop() {
      await servers.close();
      await vps.stop();
    },
  };
}
