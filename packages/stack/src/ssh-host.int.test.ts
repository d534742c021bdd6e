import { existsSync } from "node:fs";
import { Client, type ConnectConfig } from "ssh2";
import { expect, onTestFinished, test } from "vitest";
import { type SshHost, startSshHost } from "./ssh-host.ts";
import { newSshKeyPair } from "./ssh-keys.ts";

type Said = { code: number | null; out: string; err: string };

async function host(): Promise<SshHost> {
  const started = await startSshHost();
  onTestFinished(() => started.stop());
  return started;
}

function run(to: SshHost, login: ConnectConfig, command: string, input = ""): Promise<Said> {
  const pinned = to.hostKeys[0]?.split(" ")[1];
  return new Promise((done, refuse) => {
    const client = new Client();
    const said: Said = { code: null, out: "", err: "" };
    client.on("error", refuse).on("close", () => refuse(new Error("closed")));
    client.on("ready", () => {
      client.exec(command, (error, channel) => {
        if (error) return refuse(error);
        channel.on("data", (part: Buffer) => {
          said.out += part;
        });
        channel.stderr.on("data", (part: Buffer) => {
          said.err += part;
        });
        channel.on("exit", (code: number) => {
          said.code = code;
        });
        channel.on("close", () => {
          done(said);
          client.end();
        });
        channel.end(input);
      });
    });
    client.connect({
      host: to.address,
      port: to.sshPort,
      username: to.user,
      hostVerifier: (key: Buffer) => key.toString("base64") === pinned,
      ...login,
    });
  });
}

test("a command gets its input and gives back output, errors and exit code", async () => {
  const to = await host();
  const { public: line, private: privateKey } = newSshKeyPair();
  await to.authorizeKey(line);
  const said = await run(
    to,
    { privateKey },
    "cat > kept; wc -c < kept; echo no >&2; exit 3",
    "12345",
  );
  expect(said).toEqual({ code: 3, out: "5\n", err: "no\n" });
  expect((await to.exec(["cat", "kept"])).stdout).toBe("12345");
});

test("nothing runs as root, whoever runs the tests", async () => {
  const to = await host();
  await to.setPassword("pw");
  const { out } = await run(to, { password: "pw" }, "id -u; sudo -n id -u; echo $?");
  expect(out.split("\n")[0]).not.toBe("0");
  expect(out.trim().split("\n").at(-1)).toBe("1");
});

test("strangers, wrong and locked passwords are refused", async () => {
  const to = await host();
  const { private: privateKey } = newSshKeyPair();
  await expect(run(to, { privateKey }, "id")).rejects.toThrow(/authentication/);
  await to.setPassword("right");
  await expect(run(to, { password: "wrong" }, "id")).rejects.toThrow(/authentication/);
  await to.lockPassword();
  await expect(run(to, { password: "right" }, "id")).rejects.toThrow(/authentication/);
});

test("a cut network ends the connection, and a stopped host leaves nothing", async () => {
  const to = await host();
  await to.setPassword("pw");
  const lost = run(to, { password: "pw" }, "echo $$ > pid; exec sleep 60");
  lost.catch(() => {});
  await expect.poll(async () => (await to.exec(["cat", "pid"])).stdout).not.toBe("");
  const pid = Number((await to.exec(["cat", "pid"])).stdout);
  await to.cutNetwork();
  await expect(lost).rejects.toThrow();
  await expect(run(to, { password: "pw" }, "true")).rejects.toThrow();
  await to.restoreNetwork();
  expect((await run(to, { password: "pw" }, "true")).code).toBe(0);
  await to.stop();
  await to.stop();
  expect(existsSync(to.root)).toBe(false);
  await expect.poll(() => existsSync(`/proc/${pid}`)).toBe(false);
});
