/** Names and addresses of hosts, as requests may give them. */
import { isIP } from "node:net";
import { domainToUnicode } from "node:url";

const labelPattern = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** Why a text is no host name of A-labels, or undefined when it is one. Linear in its length. */
function hostProblem(text: string): string | undefined {
  if (text.length > 253) return "must have at most 253 characters";
  if (/[A-Z]/.test(text)) return "must be lower case";
  const labels = text.split(".");
  if (labels.some((label) => label.length > 63)) return "must have labels of at most 63 characters";
  if (!labels.every((label) => labelPattern.test(label))) {
    return "must consist of labels of a-z, 0-9 and inner dashes, separated by single dots";
  }
  if (/^\d+$/.test(labels.at(-1) ?? "")) return "must not end in a number";
  const tagged = labels.filter((label) => label.startsWith("--", 2));
  const isValid = (label: string) => label.startsWith("xn--") && domainToUnicode(label) !== "";
  return tagged.every(isValid) ? undefined : "must have valid A-labels (xn--…)";
}

/** Why a text is no public domain name, or undefined when it is one: at least two labels, no IP, no trailing dot. */
export function domainProblem(text: string): string | undefined {
  if (text === "") return "is required";
  if (isIP(text) !== 0) return "must be a domain, not an IP address";
  if (text.endsWith(".")) return "must not end in a dot";
  if (text.startsWith("*")) return "must not be a wildcard";
  if (text.length <= 253 && !text.includes(".")) return "must have at least one dot";
  return hostProblem(text);
}

/** Why a text is neither IPv4, IPv6 (without zone) nor a host name, or undefined when it is one. */
export function addressProblem(text: string): string | undefined {
  if (text === "") return "is required";
  if (text.includes("%")) return "must not name a zone";
  return isIP(text) === 0 ? hostProblem(text) : undefined;
}
