/** What the runners of a process show of themselves: how far they are behind, and what they have in hand. */
import { api, type Nats, valueOf } from "../event-log/nats.ts";
import type { Projection } from "../projection/projection.ts";
import type { Projector } from "../projection/projector.ts";
import { gauge, sharedReading } from "../telemetry/metrics.ts";
import { reactorConsumer } from "../topology/consumers.ts";

export type Shown = {
  readonly nats: Nats;
  readonly service: string;
  readonly projections: readonly Projection[];
  readonly projectors: readonly Projector[];
  /** Names of the reactors that run here. */
  readonly reactors: readonly string[];
  /** Jobs in hand; undefined in a process that takes none. */
  readonly running: (() => number) | undefined;
};

/** Two gauges that are read in one look are made of one question. */
const lagMaxAgeMs = 1_000;

type StreamInfo = { readonly state: { readonly last_seq: number } };
type ConsumerInfo = { readonly num_pending: number; readonly num_ack_pending: number };

async function heads(nats: Nats, streams: ReadonlySet<string>): Promise<Map<string, number>> {
  const found = [...streams].map(async (stream) => {
    const info = valueOf(await api<StreamInfo>(nats, `STREAM.INFO.${stream}`), `asking ${stream}`);
    return [stream, info.state.last_seq] as const;
  });
  return new Map(await Promise.all(found));
}

/** The head of a stream when it was looked at, until a read model has reached it. */
export type Mark = { readonly sequence: number; readonly at: number };

/** How long a read model has been behind a head that was marked, and the mark to keep. Pure. */
export function behind(
  mark: Mark | undefined,
  position: number,
  head: Mark,
): { readonly ms: number; readonly mark: Mark } {
  if (!mark || position >= mark.sequence) {
    return { ms: 0, mark: head };
  }
  return { ms: Math.max(0, head.at - mark.at), mark };
}

/** What is behind, in entries and in time, of each projection. */
function projectionLags({ nats, projections, projectors }: Shown) {
  const streams = new Set<string>(projections.map(({ source }) => source.stream));
  const streamOf = new Map(projections.map(({ name, source }) => [name, source.stream]));
  const marks = new Map<string, Mark>();
  return async () => {
    // Positions first: what is appended meanwhile is no lag yet.
    const positions = projectors
      .filter((projector) => projector.position() >= 0)
      .map(({ name, position }) => ({ name, at: position() }));
    const last = await heads(nats, streams);
    return positions.map(({ name, at }) => {
      const sequence = last.get(streamOf.get(name) ?? "") ?? at;
      const { ms, mark } = behind(marks.get(name), at, { sequence, at: performance.now() });
      marks.set(name, mark);
      return { projection: name, entries: Math.max(0, sequence - at), ms };
    });
  };
}

function showProjections(shown: Shown): void {
  const { projectors } = shown;
  const lags = sharedReading(lagMaxAgeMs, projectionLags(shown));
  gauge("chom_projection_lag", async () =>
    (await lags()).map(({ projection, entries: value }) => ({ value, labels: { projection } })),
  );
  gauge("chom_projection_behind_seconds", async () =>
    (await lags()).map(({ projection, ms }) => ({ value: ms / 1_000, labels: { projection } })),
  );
  gauge("chom_projection_halted", () =>
    projectors.map(({ name, failure }) => ({
      value: failure() === undefined ? 0 : 1,
      labels: { projection: name },
    })),
  );
}

function showReactors({ nats, service, reactors }: Shown): void {
  gauge("chom_reactor_pending", () =>
    Promise.all(
      reactors.map(async (reactor) => {
        const consumer = reactorConsumer(service, reactor);
        const verb = `CONSUMER.INFO.EVENTS.${consumer}`;
        const info = valueOf(await api<ConsumerInfo>(nats, verb), `asking ${consumer}`);
        return { value: info.num_pending + info.num_ack_pending, labels: { reactor } };
      }),
    ),
  );
}

/** Declares the gauges. */
export function showRunners(shown: Shown): void {
  const { service: family, running } = shown;
  if (shown.projectors.length > 0) showProjections(shown);
  if (shown.reactors.length > 0) showReactors(shown);
  if (running) gauge("chom_jobs_running", () => [{ value: running(), labels: { family } }]);
}
