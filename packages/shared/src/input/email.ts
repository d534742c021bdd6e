/** E-mail addresses as hosting uses them: no quotes, no comments, no addresses of machines. */
import { type Grammar, shaped } from "./grammar.ts";
import { domainProblem } from "./host.ts";

const localProblem = shaped(/^[A-Za-z0-9_%+-]+(?:\.[A-Za-z0-9_%+-]+)*$/, 64, "a mailbox");

/** At most 254 characters; the domain may be in upper case. */
export const emailProblem: Grammar = (text) => {
  if (text === "") return "is required";
  const at = text.lastIndexOf("@");
  const isOne =
    text.length <= 254 &&
    localProblem(text.slice(0, Math.max(0, at))) === undefined &&
    domainProblem(text.slice(at + 1).toLowerCase()) === undefined;
  // A mailbox like `--x` is an option to the programs that take it as an argument.
  return isOne && !text.startsWith("-") ? undefined : "must be an e-mail address";
};
