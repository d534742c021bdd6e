import { utils } from "ssh2";
import { expect, test } from "vitest";
import { newSshKeyPair } from "./ssh-keys.ts";

test("every new key pair can be read back, and its halves fit", () => {
  for (let i = 0; i < 1_000; i += 1) {
    const pair = newSshKeyPair();
    const [own, line] = [utils.parseKey(pair.private), utils.parseKey(pair.public)];
    if (own instanceof Error || line instanceof Error) throw new Error("unreadable");
    expect(own.getPublicSSH().equals(line.getPublicSSH())).toBe(true);
  }
});
