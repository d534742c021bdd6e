/** Real NATS brokers on loopback, with JetStream and without monitoring. */
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { failureOf } from "@chom/shared/failure/failure";
import { type Child, startChild, waitUntilReady } from "./child-process.ts";
import { freePort, freePorts } from "./free-port.ts";
import { resolveNatsServer } from "./nats-binary.ts";
import { onExit } from "./on-exit.ts";
import { type Progress, silent } from "./progress.ts";
import { scratchFolder } from "./scratch-folder.ts";

export type NatsServerOptions = {
  /** More configuration text, appended: accounts, users, limits. */
  config?: string;
  /** Where JetStream keeps its files; default a temporary folder that goes with the server. */
  storeDir?: string;
  /** Fsync before every acknowledgement, as production should; default false (every 2 minutes). */
  syncAlways?: boolean;
  /** Default: a free one. */
  port?: number;
  /** Shown as the server's name; default "chom". */
  name?: string;
  progress?: Progress;
};

export type NatsServer = {
  /** `nats://127.0.0.1:<port>` */
  url: string;
  port: number;
  /** The pid of the running broker; changes with `restart`. */
  readonly pid: number;
  /** Its folder: configuration and, unless `storeDir` says otherwise, the store. */
  dir: string;
  /** The end of its log. */
  log: () => string;
  /** Stops it and removes its folder. Idempotent. */
  stop: () => Promise<void>;
  /** SIGKILL, as a crash would; the store stays. */
  kill: () => Promise<void>;
  /** Starts it again on the same port and store, after stopping it in order if it still runs. */
  restart: () => Promise<void>;
};

/** Starts one broker and waits until it accepts connections with JetStream on. Fails with `service-down`. */
export async function startNatsServer(options: NatsServerOptions = {}): Promise<NatsServer> {
  const binary = await resolveNatsServer(options.progress ?? silent);
  for (let triesLeft = options.port === undefined ? 2 : 0; ; triesLeft -= 1) {
    const broker = prepare(binary, { ...options, port: options.port ?? (await freePort()) });
    try {
      await broker.restart();
      return broker;
    } catch (error) {
      await broker.stop();
      if (triesLeft === 0 || !String(error).includes("address already in use")) throw error;
    }
  }
}

export type NatsCluster = { servers: NatsServer[]; urls: string[]; stop: () => Promise<void> };

/** Starts `size` brokers as one cluster (3 make R3 streams possible) and waits for its JetStream leader. */
export async function startNatsCluster(
  size: number,
  options: Pick<NatsServerOptions, "config" | "syncAlways" | "progress"> = {},
): Promise<NatsCluster> {
  const binary = await resolveNatsServer(options.progress ?? silent);
  const ports = await freePorts(size * 2);
  const routes = ports.slice(size).map((port) => `nats://127.0.0.1:${port}`);
  const servers = ports.slice(0, size).map((port, i) =>
    prepare(binary, {
      ...options,
      port,
      name: `chom-${i + 1}`,
      config: `cluster { name: chom, listen: "${routes[i]?.slice("nats://".length)}", routes: ${JSON.stringify(routes)} }
${options.config ?? ""}`,
    }),
  );
  const stop = async () => void (await Promise.all(servers.map((server) => server.stop())));
  try {
    await Promise.all(servers.map((server) => server.restart()));
    await Promise.all(servers.map(untilLed));
  } catch (error) {
    await stop();
    throw error;
  }
  return { servers, urls: servers.map(({ url }) => url), stop };
}

async function untilLed(server: NatsServer): Promise<void> {
  const deadline = Date.now() + 20_000;
  // The leader writes "Self is new JetStream cluster metadata leader", the others name it.
  while (!/new (JetStream cluster )?metadata leader/.test(server.log())) {
    if (Date.now() > deadline)
      throw failureOf("service-down", "the brokers chose no JetStream leader");
    await new Promise((done) => setTimeout(done, 20));
  }
}

function prepare(binary: string, options: NatsServerOptions & { port: number }): NatsServer {
  const { port, name = "chom" } = options;
  const scratch = scratchFolder("nats");
  const file = join(scratch.path, "nats.conf");
  writeFileSync(
    file,
    configText({ ...options, name, storeDir: options.storeDir ?? join(scratch.path, "js") }),
    {
      mode: 0o600,
    },
  );
  let child: Child | undefined;
  const stop = async () => {
    takeBack();
    // SIGTERM lets the broker end in order; SIGINT would do the same.
    await child?.stop();
    scratch.remove();
  };
  const takeBack = onExit(stop);
  return {
    url: `nats://127.0.0.1:${port}`,
    port,
    get pid() {
      return child?.pid ?? 0;
    },
    dir: scratch.path,
    log: () => child?.log() ?? "",
    stop,
    kill: async () => child?.kill(),
    restart: async () => {
      await child?.stop();
      const started = startChild(binary, ["-c", file]);
      child = started;
      await waitUntilReady("nats-server", started, () => accepts(port));
    },
  };
}

function configText(
  options: NatsServerOptions & { port: number; name: string; storeDir: string },
): string {
  return `server_name: "${options.name}"
listen: "127.0.0.1:${options.port}"
jetstream {
  store_dir: "${options.storeDir}"
  ${options.syncAlways ? "sync_interval: always" : ""}
}
${options.config ?? ""}
`;
}

/** A broker greets every connection with one INFO line; it says whether JetStream is up. */
function accepts(port: number): Promise<boolean> {
  return new Promise((answer) => {
    const socket = connect({ host: "127.0.0.1", port, timeout: 1_000 });
    let greeting = "";
    const end = (result: boolean) => {
      socket.destroy();
      answer(result);
    };
    socket.setEncoding("utf8").on("data", (text: string) => {
      greeting += text;
      if (greeting.includes("\r\n")) end(/"jetstream":\s*true/.test(greeting));
    });
    socket
      .on("error", () => end(false))
      .on("timeout", () => end(false))
      .on("close", () => end(false));
  });
}
