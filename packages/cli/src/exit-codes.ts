/** Exit codes and remedies: what a script and a person need after a failure. */
import type { Failure } from "@chom/shared/failure/failure";

export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  notFound: 3,
  refused: 4,
  unavailable: 5,
  jobFailed: 6,
} as const;

export const exitCodesHelp = `
Exit codes:
  0 ok   1 failed   2 usage   3 not found   4 refused or denied   5 unavailable   6 the job failed`;

/** The exit code of a failure. */
export function exitCodeOf({ kind }: Failure): number {
  switch (kind) {
    case "invalid":
      return exitCodes.usage;
    case "not-found":
      return exitCodes.notFound;
    case "rejected":
    case "security":
    case "conflict":
      return exitCodes.refused;
    case "transient":
      return exitCodes.unavailable;
    default:
      return exitCodes.failed;
  }
}

const remedies: Readonly<Record<string, string>> = {
  unauthenticated: "get a new token and write it into the context's tokenFile",
  "not-permitted": "ask for a token with the permission that the message names",
  "service-unavailable": "check that the service runs and that the context names its address",
  "deadline-exceeded": "try again; the request may have been carried out, and repeating it is safe",
  "read-model-behind": "try again in a moment",
  "already-exists": "choose another --request-id, or repeat exactly the first request",
  "context-missing": "write a context file, or name one with --context or CHOM_CONTEXT_FILE",
  "job-ended": "see how it ended with: chom job show <id>",
  "log-unavailable": "check that the broker runs at --nats-url and that the seed is its user's",
  "confirmation-needed":
    "look with --dry-run, then repeat it with --force, and --environment where it asks for it",
  "wrong-environment": "look at which context is in use: --context, CHOM_CONTEXT_FILE",
  "tool-missing": "do what the message says, then: chom job retry <id>",
  "rotation-hindered":
    "see the server with: chom server show <id>, and its jobs with: chom job list",
  "server-not-ready": "see its state with: chom server show <id>",
};

/** What to do about a failure, or undefined when its message has to do. */
export const remedyOf = ({ code }: Failure): string | undefined => remedies[code];
