import type { DemoArguments } from "./arguments.ts";
import type { Facts } from "./report.ts";

export function playUnprivileged(_: DemoArguments): Promise<Facts> {
  throw new Error("not yet");
}
