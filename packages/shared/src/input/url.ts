/** URLs that CHOM itself will call. */
import { isIP } from "node:net";
import type { Grammar } from "./grammar.ts";
import { addressProblem } from "./host.ts";

/** The host of a URL without the brackets of IPv6. */
export const hostOf = (url: URL): string => url.hostname.replace(/^\[|\]$/g, "");

/**
 * An http or https URL of at most 2,048 ASCII characters, without user and password, whose host is written as it is
 * meant: `http://0x7f.1/` is refused, whatever it would stand for.
 */
export const httpUrlProblem: Grammar = (text) => {
  if (text === "") return "is required";
  if (text.length > 2_048) return "must have at most 2048 characters";
  const [, authority = ""] =
    /^https?:\/\/([^/?#\\]+)(?:[/?#][\x21-\x5b\x5d-\x7e]*)?$/.exec(text) ?? [];
  if (authority === "" || !URL.canParse(text)) return "must be an http or https URL";
  if (authority.includes("@")) return "must not hold a user or a password";
  const url = new URL(text);
  const host = hostOf(url);
  if (isIP(host) !== 6 && authority.replace(/:[0-9]*$/, "") !== host) {
    return "must have a host in lower case, written plainly";
  }
  const problem = addressProblem(host);
  return problem && `must have a host that ${problem}`;
};
