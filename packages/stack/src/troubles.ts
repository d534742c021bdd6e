/** The last errors in the services' logs: what a person looks for first when something failed. */
import { existsSync, readFileSync } from "node:fs";
import type { ServiceProcess } from "./service-process.ts";

const errorLevel = 50;
const shownPerService = 5;

/** Lines of level error and above, newest last, named by service. */
export function troubles(services: Iterable<ServiceProcess>): string[] {
  return [...services].flatMap(({ name, logFile }) => {
    if (!existsSync(logFile)) return [];
    const lines = readFileSync(logFile, "utf8").split("\n");
    return lines
      .filter((line) => isError(line))
      .slice(-shownPerService)
      .map((line) => `${name}: ${line.slice(0, 1_500)}`);
  });
}

function isError(line: string): boolean {
  try {
    const { level } = JSON.parse(line) as { level?: unknown };
    return (
      level === "error" || level === "fatal" || (typeof level === "number" && level >= errorLevel)
    );
  } catch {
    // Not of our logger: a crash before it, most likely.
    return line.trim() !== "";
  }
}
