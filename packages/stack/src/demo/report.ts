/** What the demo tells at its end: a timeline of events, a table of durations, the comparisons. */
import type { Event } from "@chom/proto/chom/events/v1/events";
import { shortName } from "./event-feed.ts";

export type Comparison = { readonly what: string; readonly held: boolean; readonly detail: string };
export type Duration = { readonly what: string; readonly durationMs: number };

export type Facts = {
  readonly ok: boolean;
  readonly server: { readonly kind: "vps" | "ssh-host"; readonly address: string };
  readonly leavesOut: readonly string[];
  readonly ids: Readonly<Record<string, string>>;
  readonly comparisons: readonly Comparison[];
  readonly durations: readonly Duration[];
  readonly events: readonly { time: string; type: string; subject: string; position: number }[];
};

/** Events as the facts list them: no data, so nothing personal and nothing long. */
export const listEvents = (events: readonly Event[]): Facts["events"] =>
  events.map((event) => ({
    time: event.time?.toISOString() ?? "",
    type: shortName(event),
    subject: event.subject,
    position: Number(event.position),
  }));

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(2)} s`;

/** The facts as lines for people. */
export function readable(facts: Facts): string {
  const startedAt = Date.parse(facts.events[0]?.time ?? "") || 0;
  const timeline = facts.events.map(({ time, type, subject }) => {
    const offset = seconds(Date.parse(time) - startedAt).padStart(9);
    return `  ${offset}  ${type.padEnd(24)} ${subject}`;
  });
  const durations = facts.durations.map(
    ({ what, durationMs }) => `  ${what.padEnd(44)} ${seconds(durationMs).padStart(9)}`,
  );
  const comparisons = facts.comparisons.map(
    ({ what, held, detail }) =>
      `  ${held ? "held  " : "FAILED"}  ${what}${detail ? `: ${detail}` : ""}`,
  );
  return [
    "",
    "Timeline",
    ...timeline,
    "",
    "Durations",
    ...durations,
    "",
    "Comparisons",
    ...comparisons,
    ...(facts.leavesOut.length > 0
      ? ["", "Left out on this machine", ...facts.leavesOut.map((line) => `  ${line}`)]
      : []),
    "",
    facts.ok ? "Every comparison held." : "A comparison failed.",
  ].join("\n");
}
