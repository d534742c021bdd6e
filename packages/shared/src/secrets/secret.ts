/** A value that must never be printed: every way of turning it into text gives `[secret]`. */
import { inspect } from "node:util";

const shown = "[secret]";

/**
 * Holds one secret. `reveal()` is the only way out; string conversion, JSON and inspection print `[secret]`.
 * Never put one in an event, a journal entry, a step's result or an error.
 */
export class Secret<T extends string | Buffer = string> {
  readonly #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  reveal(): T {
    return this.#value;
  }

  toString(): string {
    return shown;
  }

  toJSON(): string {
    return shown;
  }

  [inspect.custom](): string {
    return shown;
  }
}

/** True when a Secret sits anywhere inside a plain value. Cycles count as seen. */
export function containsSecret(value: unknown, seen: Set<unknown> = new Set()): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (value instanceof Secret) return true;
  // Bytes hold nothing but bytes; looking at each of a sealed input's would take longer than sealing it.
  if (ArrayBuffer.isView(value) || seen.has(value)) return false;
  seen.add(value);
  const parts = value instanceof Map ? [...value.entries()].flat() : Object.values(value);
  for (const part of parts) {
    if (typeof part === "object" && containsSecret(part, seen)) return true;
  }
  return false;
}
