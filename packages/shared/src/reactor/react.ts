/** What a reactor wants because of one event, with ids made from the cause: twice is once. */
import type { StoredEvent } from "../aggregate/aggregate.ts";
import { hashId } from "../aggregate/id.ts";
import type { DispatchRequest } from "../job/job.ts";
import type { CommandRequest, React, Reaction, Reactor } from "./reactor.ts";

/** Who asks, and because of what. */
export type ReactionCause = {
  readonly tenant: string;
  readonly actor: string;
  readonly causationId: string;
  readonly correlationId: string;
};

export type Wanted =
  | {
      readonly kind: "dispatch";
      readonly request: DispatchRequest;
      readonly jobId: string;
      readonly cause: ReactionCause;
    }
  | {
      readonly kind: "command";
      readonly request: CommandRequest;
      readonly eventSeed: string;
      readonly cause: ReactionCause;
    };

/**
 * The reactions to an event in order. A job's id is a hash of event, reactor, job and ordinal. `react` stands for the
 * reactor's own answer to the event.
 */
export async function wantedBy(
  reactor: Reactor,
  { name, data, meta }: StoredEvent,
  // biome-ignore lint/suspicious/noExplicitAny: erased in `Reactor`.
  react: React<any> | undefined = Object.hasOwn(reactor.on, name) ? reactor.on[name] : undefined,
): Promise<readonly Wanted[]> {
  if (!react) return [];
  const answered = await react(data, meta);
  const reactions: readonly Reaction[] = "kind" in answered ? [answered] : answered;
  const { eventId, tenant, actor, correlationId } = meta;
  const cause = { tenant, actor, causationId: eventId, correlationId: correlationId || eventId };
  return reactions.map((request, ordinal) => {
    if (request.kind === "dispatch") {
      const jobId = hashId(eventId, reactor.name, request.job.name, ordinal);
      return { kind: "dispatch", request, jobId, cause };
    }
    const eventSeed = hashId(eventId, reactor.name, request.command, ordinal);
    return { kind: "command", request, eventSeed, cause: { ...cause, tenant: request.tenant } };
  });
}
