/** Text for people: any sign but those that repaint a terminal, break a line or turn the reading direction. */

const unprintable = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/u;

/** Why a text may not be shown to people, or undefined. Lengths in UTF-16 units; halves of a sign are refused. */
export function textProblem(
  text: string,
  { min = 0, max }: { min?: number; max: number },
): string | undefined {
  if (text.length < min) return min === 1 ? "is required" : `must have at least ${min} characters`;
  if (text.length > max) return `must have at most ${max} characters`;
  if (!text.isWellFormed()) return "must be well-formed Unicode";
  return unprintable.test(text) ? "must not contain control characters" : undefined;
}
