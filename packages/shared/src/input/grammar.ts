/** Grammars: one per kind of value, wherever it comes from: a call, a console, a setting or an event. */

/** Why a text is not such a value, completing "<name> …", or undefined when it is one. Linear in its length. */
export type Grammar = (text: string) => string | undefined;

/** A required text of at most `max` UTF-16 units; `shape` completes "must be …". The pattern is anchored and linear. */
export const shaped =
  (pattern: RegExp, max: number, shape: string): Grammar =>
  (text) => {
    if (text === "") return "is required";
    // First, so that no pattern ever sees an endless text.
    if (text.length > max) return `must have at most ${max} characters`;
    return pattern.test(text) ? undefined : `must be ${shape}`;
  };

/** True when the grammar takes the text. */
export const fits = (grammar: Grammar, text: string): boolean => grammar(text) === undefined;
