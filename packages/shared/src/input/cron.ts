/** The form of cron patterns; whether one ever comes true is for the scheduler to find out. */
import type { Grammar } from "./grammar.ts";

const nicknames = new Set(["@hourly", "@daily", "@weekly", "@monthly", "@yearly"]);

/** Five fields with one blank between them, at most 100 characters, so no seconds; or a name like @daily. */
export const cronProblem: Grammar = (text) => {
  if (text === "") return "is required";
  if (nicknames.has(text)) return undefined;
  const isPattern =
    text.length <= 100 && /^[0-9A-Za-z*/,#?+-]+(?: [0-9A-Za-z*/,#?+-]+){4}$/.test(text);
  return isPattern
    ? undefined
    : "must be five fields with one blank between them, or a name like @daily";
};

/** The form of an IANA time zone's name; "" is none. */
export const zoneNameProblem: Grammar = (text) =>
  text.length <= 64 && /^[A-Za-z][A-Za-z0-9_+-]*(?:\/[A-Za-z0-9_+-]+)*$/.test(text)
    ? undefined
    : "must be an IANA time zone like Europe/Berlin";
