/** Names and addresses of hosts, as requests may give them. */
import { isIP } from "node:net";
import { domainToASCII, domainToUnicode } from "node:url";

const labelPattern = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** What IDNA 2008 lets a label consist of, but for its rules of context: no signs, no pictures, no controls. */
const lettersOnly = /^[\p{L}\p{N}\p{M}\u00b7\u0375\u05f3\u05f4\u30fb-]+$/u;

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
  // What cannot be decoded stays as it is; what does not come back as it was is another name to whoever reads it decoded.
  const isValid = (label: string) => {
    const decoded = label.startsWith("xn--") ? domainToUnicode(label) : "";
    return decoded !== label && lettersOnly.test(decoded) && domainToASCII(decoded) === label;
  };
  return tagged.every(isValid) ? undefined : "must have valid A-labels (xn--…)";
}

/** Names that are never anyone's on the internet. Those of examples and tests are left: nothing answers there. */
const reserved = /(?:^|\.)(?:localhost|local|internal|arpa|onion|alt)$/;
/** Registries below a country's code. A shortened form of the public suffix list: what nobody can be the owner of. */
const registry = /^(?:ac|co|com|edu|gov|mil|net|org)\.[a-z]{2}$/;

/** Why a text is no public domain name, or undefined when it is one: at least two labels, no IP, no trailing dot. */
export function domainProblem(text: string): string | undefined {
  if (text === "") return "is required";
  if (isIP(text) !== 0) return "must be a domain, not an IP address";
  if (text.endsWith(".")) return "must not end in a dot";
  if (text.startsWith("*")) return "must not be a wildcard";
  if (text.length <= 253 && !text.includes(".")) return "must have at least one dot";
  const problem = hostProblem(text);
  if (problem) return problem;
  if (registry.test(text)) return "must not be a registry's own name";
  return reserved.test(text) ? "must be a name of the public internet" : undefined;
}

/** Why a text is neither IPv4, IPv6 (without zone) nor a host name, or undefined when it is one. */
export function addressProblem(text: string): string | undefined {
  if (text === "") return "is required";
  if (text.includes("%")) return "must not name a zone";
  return isIP(text) === 0 ? hostProblem(text) : undefined;
}
