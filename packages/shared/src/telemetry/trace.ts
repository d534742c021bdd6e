/** W3C trace context as plain text, so that one request can be followed through gRPC, streams and workers. */

export type Trace = {
  /** 32 lower-case hex digits, not all zero. */
  readonly traceId: string;
  /** 16 lower-case hex digits, not all zero. */
  readonly spanId: string;
  readonly sampled: boolean;
};

const pattern = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})/;

/** Reads a `traceparent` header; undefined when it is not one (W3C Trace Context 3.2: then a new trace begins). */
export function parseTraceparent(text: string): Trace | undefined {
  const [, traceId, spanId, flags] = pattern.exec(text) ?? [];
  if (!traceId || !spanId || !flags) return undefined;
  const isVersion0 = text.startsWith("00-");
  if (isVersion0 ? text.length !== 55 : text.length > 512) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

/** The header of a trace. */
export const formatTraceparent = ({ traceId, spanId, sampled }: Trace): string =>
  `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;

/** A new span within the parent's trace, or a new sampled trace without one. `random` gives so many random bytes. */
export function childTraceparent(parent: string, random: (bytes: number) => Buffer): string {
  const known = parseTraceparent(parent);
  return formatTraceparent({
    traceId: known?.traceId ?? random(16).toString("hex"),
    spanId: random(8).toString("hex"),
    sampled: known?.sampled ?? true,
  });
}
