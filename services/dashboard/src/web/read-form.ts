/** The body of a form, within bounds. */
import type { IncomingMessage } from "node:http";
import { invalid } from "@chom/shared/failure/failure";

const longest = 512 * 1_024;
const type = "application/x-www-form-urlencoded";

/** Failure `invalid` for a body that is no form or too long. */
export async function readForm(request: IncomingMessage): Promise<URLSearchParams> {
  const given = (request.headers["content-type"] ?? "").split(";")[0]?.trim();
  if (given !== type) throw invalid([{ field: "body", description: `must be ${type}` }]);
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > longest) throw invalid([{ field: "body", description: "is too long" }]);
    chunks.push(chunk);
  }
  return new URLSearchParams(Buffer.concat(chunks).toString());
}
