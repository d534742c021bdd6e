/** Secrets come from a file, from stdin or from a prompt without echo; never from the command line. */
import { readFileSync, statSync } from "node:fs";
import type { ReadStream, WriteStream } from "node:tty";
import { permanent } from "@chom/shared/failure/failure";
import { Secret } from "@chom/shared/secrets/secret";

const largestBytes = 64 * 1024;

/** What a file holds, without its last line break; `-` is stdin. */
export function secretFrom(path: string): Secret {
  try {
    if (path !== "-" && statSync(path).size > largestBytes) throw new Error("too large");
    const text = readFileSync(path === "-" ? 0 : path, "utf8").replace(/\r?\n$/, "");
    if (text === "") throw new Error("empty");
    return new Secret(text);
  } catch (cause) {
    throw permanent("secret-unreadable", `no secret could be read from ${path}`, { cause });
  }
}

/** Asks on the terminal without showing what is typed. Ctrl-C gives up. */
export async function askSecret(
  question: string,
  input: ReadStream = process.stdin,
  output: Pick<WriteStream, "write"> = process.stderr,
): Promise<Secret> {
  if (!input.isTTY) {
    throw permanent("no-terminal", "there is no terminal to ask on; use --password-file");
  }
  output.write(`${question}: `);
  input.setRawMode(true);
  input.setEncoding("utf8");
  try {
    let typed = "";
    for await (const chunk of input.iterator({ destroyOnReturn: false })) {
      for (const char of String(chunk)) {
        if (char === "\r" || char === "\n") return new Secret(typed);
        if (char === "\u0003" || char === "\u0004") throw permanent("given-up", "given up");
        typed = char === "\u007f" || char === "\b" ? typed.slice(0, -1) : typed + char;
      }
    }
    throw permanent("given-up", "the terminal was closed");
  } finally {
    input.setRawMode(false);
    input.pause();
    output.write("\n");
  }
}
