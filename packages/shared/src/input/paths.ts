/** Paths: nothing that climbs, hides or is read in two ways. */
import type { Grammar } from "./grammar.ts";
import { textProblem } from "./text.ts";

const longestPath = 4_095;
const longestName = 255;

function segmentProblem(segment: string): string | undefined {
  if (segment === "" || segment === "." || segment === "..")
    return "must have no empty, . or .. part";
  if (Buffer.byteLength(segment) > longestName) return "must have parts of at most 255 bytes";
  // A name that ends so is another name elsewhere, and the same to a reader.
  return /[ .]$/.test(segment) ? "must have no part that ends in a blank or a dot" : undefined;
}

/** Parts that are joined by single slashes, without one at either end. */
export const relativePathProblem: Grammar = (text) => {
  if (text === "") return "is required";
  const problem = textProblem(text, { max: longestPath });
  if (problem) return problem;
  for (const segment of text.split("/")) {
    const found = segmentProblem(segment);
    if (found) return found;
  }
  return text.startsWith("-") ? "must not begin with a dash" : undefined;
};

/** A slash and a relative path; not the root itself, nothing of /proc, /sys or /dev. */
export const absolutePathProblem: Grammar = (text) => {
  if (text === "") return "is required";
  if (!text.startsWith("/")) return "must begin with a slash";
  const problem = relativePathProblem(text.slice(1));
  if (problem) return problem === "is required" ? "must not be the root folder" : problem;
  return /^\/(?:proc|sys|dev)(?:\/|$)/.test(text)
    ? "must not be in /proc, /sys or /dev"
    : undefined;
};
