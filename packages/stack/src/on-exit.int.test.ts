import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { expect, onTestFinished, test } from "vitest";
import { isAlive } from "./child-process.ts";

/** Starts a process that starts a program of ours and a scratch folder; gives what there is to lose. */
async function starter(): Promise<{
  pid: number;
  child: number;
  folder: string;
  ended: Promise<number>;
}> {
  const at = (name: string) => new URL(`./${name}.ts`, import.meta.url);
  const program = `import { startChild } from "${at("child-process")}";
    import { onExit } from "${at("on-exit")}";
    import { scratchFolder } from "${at("scratch-folder")}";
    const child = startChild("sleep", ["600"]);
    const folder = scratchFolder("test").path;
    onExit(() => child.stop());
    console.log(JSON.stringify({ child: child.pid, folder }));`;
  const made = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => void made.kill("SIGKILL"));
  const ended = once(made, "exit").then(([code]) => code as number);
  const [line] = (await once(made.stdout, "data")) as [Buffer];
  return { pid: made.pid as number, ended, ...JSON.parse(line.toString()) };
}

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)(
  "%s stops what was started, removes its folder, and exits with %i",
  async (signal, code) => {
    const { pid, child, folder, ended } = await starter();
    expect([isAlive(child), existsSync(folder)]).toEqual([true, true]);
    process.kill(pid, signal);
    expect(await ended).toBe(code);
    await expect.poll(() => isAlive(child)).toBe(false);
    expect(existsSync(folder)).toBe(false);
  },
);

test.skipIf(process.platform !== "linux")(
  "SIGKILL of the starter takes its children with it",
  async () => {
    const { pid, child, ended } = await starter();
    process.kill(pid, "SIGKILL");
    await ended;
    await expect.poll(() => isAlive(child)).toBe(false);
  },
);
