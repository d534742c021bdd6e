/** The grammar of names we host: what passes is safe in nginx configuration, file names and PHP strings alike. */
import { domainToASCII } from "node:url";

const label = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const reservedEndings = ["local", "localhost", "internal", "invalid", "onion", "arpa"];

/**
 * Why a text is no domain name we host, or undefined when it is one: lower case, at least two labels, A-labels
 * for anything beyond ASCII, at most 253 characters, not an address, not a name that the public never sees.
 */
export function domainProblem(domain: string): string | undefined {
  if (domain.length > 253) return "must have at most 253 characters";
  const labels = domain.split(".");
  if (labels.length < 2 || !labels.every((part) => label.test(part))) {
    return "must be a fully qualified domain name in lower case, without a trailing dot";
  }
  const last = labels.at(-1) ?? "";
  if (/^\d+$/.test(last)) return "must be a name, not an address";
  if (reservedEndings.includes(last)) return `must not end in .${last}`;
  // Also refuses broken and confusable punycode: an A-label must read back as itself.
  return domainToASCII(domain) === domain ? undefined : "has a label that is no valid A-label";
}
