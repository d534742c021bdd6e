/** Measuring: costs a look at one variable until a meter is given; `start-metrics.ts` gives one. */
import type { Attributes, Counter, Histogram, Meter, ObservableGauge } from "@opentelemetry/api";
import { classify } from "../failure/failure.ts";
import { type LabelsOf, type MetricName, metricTable, type NamesOf } from "./metric-table.ts";

type Instruments = {
  readonly recorders: ReadonlyMap<string, (value: number, labels: Attributes) => void>;
  readonly gauges: ReadonlyMap<string, ObservableGauge>;
};

type GaugeReading<Name extends MetricName> = {
  readonly value: number;
  readonly labels: LabelsOf<Name>;
};
type Read = () => readonly Reading[] | Promise<readonly Reading[]>;
type Reading = { readonly value: number; readonly labels: Attributes };
type Gauge = { readonly name: string; readonly read: Read };

/** Whoever looks is not kept waiting by one reading. */
const readMaxMs = 3_000;

// One process, one meter: what is measured is the process itself.
let instruments: Instruments | undefined;
const gauges = new Set<Gauge>();

function make(meter: Meter): Instruments {
  const recorders = new Map<string, (value: number, labels: Attributes) => void>();
  const observed = new Map<string, ObservableGauge>();
  for (const [name, { kind, unit, help, ...more }] of Object.entries(metricTable)) {
    const options = { description: help, unit };
    if (kind === "gauge") observed.set(name, meter.createObservableGauge(name, options));
    else if (kind === "counter") {
      const counter: Counter = meter.createCounter(name, options);
      recorders.set(name, (value, labels) => counter.add(value, labels));
    } else {
      const explicitBucketBoundaries = "buckets" in more ? [...more.buckets] : [];
      const advice = { explicitBucketBoundaries };
      const histogram: Histogram = meter.createHistogram(name, { ...options, advice });
      recorders.set(name, (value, labels) => histogram.record(value, labels));
    }
  }
  return { recorders, gauges: observed };
}

async function readInTime(read: Read): Promise<readonly Reading[]> {
  const { promise, resolve } = Promise.withResolvers<readonly Reading[]>();
  const timer = setTimeout(() => resolve([]), readMaxMs);
  try {
    return await Promise.race([Promise.resolve(read()).catch(() => []), promise]);
  } finally {
    clearTimeout(timer);
  }
}

function watch(known: Instruments, { name, read }: Gauge): void {
  known.gauges.get(name)?.addCallback(async (result) => {
    for (const { value, labels } of await readInTime(read)) result.observe(value, labels);
  });
}

/** Measures with this meter from now on. Answers how to stop, which forgets all gauges. */
export function useMeter(meter: Meter): () => void {
  const made = make(meter);
  instruments = made;
  for (const declared of gauges) watch(made, declared);
  return () => {
    gauges.clear();
    if (instruments === made) instruments = undefined;
  };
}

/** Adds to a counter. */
export function count<Name extends NamesOf<"counter">>(
  name: Name,
  labels: LabelsOf<Name>,
  by = 1,
): void {
  instruments?.recorders.get(name)?.(by, labels);
}

/** Notes a duration in a histogram of seconds. */
export function timed<Name extends NamesOf<"histogram">>(
  name: Name,
  labels: LabelsOf<Name>,
  durationMs: number,
): void {
  instruments?.recorders.get(name)?.(Math.max(0, durationMs) / 1_000, labels);
}

/**
 * Declares what a gauge reads when somebody looks. What it cannot tell within 3 s is left out of that look: alerts on
 * absence are meant to see that.
 */
export function gauge<Name extends NamesOf<"gauge">>(
  name: Name,
  read: () => readonly GaugeReading<Name>[] | Promise<readonly GaugeReading<Name>[]>,
): void {
  const declared: Gauge = { name, read };
  gauges.add(declared);
  if (instruments) watch(instruments, declared);
}

/** Runs work and notes how long it took, with `ok` or the code of the failure that it threw. */
export async function timing<T>(
  work: () => Promise<T>,
  note: (outcome: string, durationMs: number) => void,
): Promise<T> {
  if (!instruments) return work();
  const from = performance.now();
  try {
    const result = await work();
    note("ok", performance.now() - from);
    return result;
  } catch (error) {
    note(classify(error).code, performance.now() - from);
    throw error;
  }
}

/** A reading for several gauges that is made anew after `maxAgeMs` only, so that looking often costs no more. */
export function sharedReading<T>(maxAgeMs: number, read: () => Promise<T>): () => Promise<T> {
  let last: { readonly at: number; readonly value: Promise<T> } | undefined;
  return () => {
    const now = performance.now();
    if (!last || now - last.at >= maxAgeMs) {
      const value = read();
      value.catch(() => {
        last = undefined;
      });
      last = { at: now, value };
    }
    return last.value;
  };
}
