/** SSH servers in this process that misbehave as told: for what no real sshd can be made to do. */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { setImmediate as breathe } from "node:timers/promises";
import { newSshKeyPair } from "@chom/stack/ssh-keys";
import ssh2 from "ssh2";

const { Server } = ssh2;

/** What the test does with one connection's raw messages; `isOpen` ends the floods. */
export type Say = {
  /** Sends a message of these bytes as the next packet. */
  message(payload: Buffer): void;
  /** Sends it without end, as fast as the client takes it. */
  flood(payload: Buffer | (() => void)): void;
  readonly client: ssh2.Connection;
};

export type Hostile = {
  readonly port: number;
  /** A `known_hosts` key to pin. */
  readonly hostKey: string;
  /** Bytes sent to clients so far. */
  sent(): number;
  close(): Promise<void>;
};

type Protocol = {
  _cipher: { encrypt(packet: Buffer): void };
  _packetRW: {
    write: { allocStart: number; alloc(length: number): Buffer; finalize(packet: Buffer): Buffer };
  };
};

/** The internals of the library's server: it has no way to say what a server should not. */
function sayTo(client: ssh2.Connection, socket: Socket): Say {
  const protocol = () => (client as unknown as { _protocol: Protocol })["_protocol"];
  const message = (payload: Buffer) => {
    const { write } = protocol()["_packetRW"];
    const at = write.allocStart;
    const packet = write.alloc(payload.length);
    packet.set(payload, at);
    protocol()["_cipher"].encrypt(write.finalize(packet));
  };
  const isOpen = () => socket.writable && !socket.destroyed;
  return {
    client,
    message,
    flood(what) {
      const each = typeof what === "function" ? what : () => message(what);
      void (async () => {
        while (isOpen()) {
          socket.cork();
          for (let at = 0; at < 500 && isOpen() && socket.writableLength < 4_000_000; at += 1)
            each();
          socket.uncork();
          await breathe();
        }
      })().catch(() => {});
    },
  };
}

export type Behaviour = {
  readonly config?: Partial<ssh2.ServerConfig>;
  /** Answers log-in requests; by default everybody is let in. */
  readonly login?: (context: ssh2.AuthContext, say: Say) => void;
  readonly ready?: (say: Say) => void;
  /** Answers the command; by default with nothing. */
  readonly exec?: (channel: ssh2.ServerChannel, say: Say) => void;
  /** Whether channels are opened at all. */
  readonly opens?: boolean;
};

/** An honest log-in with what `behaviour` makes of the rest. */
export async function hostileSshServer(behaviour: Behaviour): Promise<Hostile> {
  const pair = newSshKeyPair();
  const waiting: Socket[] = [];
  const ssh = new Server({ hostKeys: [pair.private], ...behaviour.config }, (client) => {
    const say = sayTo(client, waiting.shift() as Socket);
    client.on("error", () => {});
    client.on("authentication", (context) =>
      behaviour.login ? behaviour.login(context, say) : context.accept(),
    );
    client.on("ready", () => behaviour.ready?.(say));
    client.on("session", (accept) => {
      if (behaviour.opens === false) return;
      accept().on("exec", (taken) => {
        const channel = taken();
        channel.on("error", () => {});
        behaviour.exec?.(channel, say);
      });
    });
  });
  const raw = await rawServer((socket) => {
    waiting.push(socket);
    ssh.injectSocket(socket);
  });
  return { ...raw, hostKey: pair.public.split(" ").slice(0, 2).join(" ") };
}

/** A server of bytes, for what comes before any SSH. */
export async function rawServer(serve: (socket: Socket) => void): Promise<Hostile> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    serve(socket);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    hostKey: newSshKeyPair().public.split(" ").slice(0, 2).join(" "),
    sent: () => [...sockets].reduce((bytes, socket) => bytes + socket.bytesWritten, 0),
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

/** SSH's string: its length and its bytes. */
export function sshString(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
