/** Inputs and results of jobs as sealed bytes, bound to tenant, job and type. */
import type { Sealed } from "@chom/proto/chom/jobs/v1/journal";
import { Failure, operator } from "../failure/failure.ts";
import type { Sealer } from "../secrets/sealer.ts";
import { containsSecret } from "../secrets/secret.ts";
import type { AnyJob } from "./job.ts";

/** Largest input of a job, as canonical JSON, unless the engine is given another limit. */
export const maxPayloadBytes = 256 * 1024;

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, part]) => part !== undefined);
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, part]) => [key, sorted(part)]));
}

/**
 * The same bytes for the same input: canonical proto3 JSON with sorted keys. Failures `invalid`: "payload-too-large"
 * above the limit, "secret-in-input" when a Secret sits in it (pass a reference).
 */
export function canonicalInput(
  job: AnyJob,
  input: unknown,
  maxBytes: number = maxPayloadBytes,
): Buffer {
  if (containsSecret(input)) {
    throw new Failure("invalid", "secret-in-input", "the input of a job holds a secret");
  }
  const bytes = Buffer.from(JSON.stringify(sorted(job.input.toJSON(input))));
  if (bytes.byteLength > maxBytes) {
    const message = `the input has ${bytes.byteLength} bytes, at most ${maxBytes} are taken`;
    throw new Failure("invalid", "payload-too-large", message);
  }
  return bytes;
}

type Place = { readonly tenant: string; readonly jobId: string; readonly kind: string };

/** Seals bytes of a job; `kind` is the job's name for inputs, `step:<name>` or `result` for the others. */
export const sealFor = (sealer: Sealer, { tenant, jobId, kind }: Place, plain: Buffer): Sealed =>
  sealer.seal(tenant, ["job", jobId, kind], plain);

/** Opens what `sealFor` sealed. Failure `operator` "seal-missing" when there is nothing. */
export function openFor(
  sealer: Sealer,
  { tenant, jobId, kind }: Place,
  sealed: Sealed | undefined,
) {
  if (!sealed) throw operator("seal-missing", `the ${kind} of job ${jobId} is missing`);
  return sealer.open(tenant, ["job", jobId, kind], sealed);
}

/** The input of a job, decoded by its codec. */
export const inputOf = (
  sealer: Sealer,
  job: AnyJob,
  { tenant, jobId, input }: { tenant: string; jobId: string; input: Sealed | undefined },
): unknown => {
  const plain = openFor(sealer, { tenant, jobId, kind: job.name }, input);
  return job.input.fromJSON(JSON.parse(plain.toString()));
};
