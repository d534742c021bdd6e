import { generateKeyPairSync } from "node:crypto";
import { newSshKeyPair } from "@chom/stack/ssh-keys";
import { startVps, type Vps, vpsSupport } from "@chom/stack/vps";
import { connect as dial } from "node:net";
import ssh2 from "ssh2";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Failure } from "../failure/failure.ts";
import { hostileSshServer, rawServer } from "../testing/hostile-ssh-server.ts";
import { SigningAgent } from "./signing-agent.ts";
import { connect } from "./ssh.ts";

const support = await vpsSupport();
if (!support.ok) console.warn(`tests on a real server are skipped: ${support.reason}`);

const own = newSshKeyPair();
const privateKey = ssh2.utils.parseKey(own.private) as ssh2.ParsedKey;
let signatures = 0;
async function failureOfLogin(target: {
  address: string;
  port: number;
  hostKeys: readonly string[];
}): Promise<Failure> {
  const agent = new SigningAgent([own.public], async (_, data) => {
    signatures += 1;
    return privateKey.sign(data);
  });
  const signal = new AbortController().signal;
  const connection = connect({
    ...target,
    ...{ user: "chom", login: { agent }, onHostKeyMismatch: () => {}, signal },
  });
  return connection.then(
    (made) => {
      made.end();
      throw new Error("it logged in");
    },
    (error: Failure) => error,
  );
}

test("case 30: a pinned RSA host key of 1024 bits is too short for a log-in", async () => {
  const { privateKey: short } = generateKeyPairSync("rsa", { modulusLength: 1_024 });
  const pem = short.export({ type: "pkcs1", format: "pem" }).toString();
  const parsed = ssh2.utils.parseKey(pem) as ssh2.ParsedKey;
  const hostKeys = [`ssh-rsa ${parsed.getPublicSSH().toString("base64")}`];
  const asked: string[] = [];
  const server = await hostileSshServer({
    config: { hostKeys: [pem] },
    login: (context) => void asked.push(context.method),
  });
  const failure = await failureOfLogin({ address: "127.0.0.1", port: server.port, hostKeys });
  await server.close();
  expect(failure).toMatchObject({ code: "weak-crypto", kind: "security" });
  expect(asked).toEqual([]);
});

describe.skipIf(!support.ok)("an sshd that is set up weakly", () => {
  let vps: Vps;
  beforeAll(async () => {
    vps = await startVps();
    await vps.authorizeKey(own.public);
  }, 900_000);
  afterAll(async () => {
    await vps?.stop();
  });

  const settings = [
    ["KexAlgorithms=diffie-hellman-group14-sha1,diffie-hellman-group1-sha1", "group14-sha1"],
    ["Ciphers=aes128-cbc,3des-cbc", "aes128-cbc,3des-cbc"],
    ["HostKeyAlgorithms=ssh-rsa", "ssh-rsa"],
  ] as const;

  test.each(settings)(
    "case 30: sshd with %s is refused before any log-in",
    async (setting, named) => {
      signatures = 0;
      const made = "test -f /etc/ssh/rsa || ssh-keygen -q -t rsa -b 3072 -N '' -f /etc/ssh/rsa";
      const start = `/usr/sbin/sshd -p 2222 -h /etc/ssh/rsa -o ${setting} -o PidFile=/run/weak.pid`;
      const started = await vps.exec(["sh", "-c", `${made}; ${start}; cat /etc/ssh/rsa.pub`]);
      const seen = () => vps.exec(["sh", "-c", "grep -c 'Accepted\\|Failed' /var/log/auth.log"]);
      const before = (await seen()).stdout;
      const hostKeys = [...vps.hostKeys, started.stdout.trim()];
      const failure = await failureOfLogin({ address: vps.address, port: 2222, hostKeys });
      expect(failure).toMatchObject({ code: "weak-crypto", kind: "security" });
      expect(failure.message).toContain("OpenSSH");
      expect(failure.message).toContain(named);
      expect(signatures).toBe(0);
      expect((await seen()).stdout).toBe(before);
      await vps.exec([
        "sh",
        "-c",
        "kill $(cat /run/weak.pid); while test -f /run/weak.pid; do sleep 0.05; done",
      ]);
    },
  );

  test("case 30: one in the middle who strips strict key exchange is refused before any log-in", async () => {
    signatures = 0;
    const [strict, nothing] = ["kex-strict-s-v00@openssh.com", "kex-nothing-v00@openssh.com."];
    const middle = await rawServer((near) => {
      const far = dial(vps.sshPort, vps.address);
      far.on("error", () => {});
      near.on("close", () => far.destroy());
      far.on("data", (bytes) => {
        near.write(Buffer.from(bytes.toString("latin1").replace(strict, nothing), "latin1"));
      });
      near.pipe(far);
    });
    const target = { address: "127.0.0.1", port: middle.port, hostKeys: vps.hostKeys };
    const failure = await failureOfLogin(target);
    await middle.close();
    expect(failure).toMatchObject({ code: "weak-crypto", kind: "security" });
    expect(failure.message).toContain("strict key exchange");
    expect(signatures).toBe(0);
  });
});
