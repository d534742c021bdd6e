/** Which rows of docs/threat-model.md lead nowhere: each threat names at least one case or test. Pure. */
import type { SecurityCase } from "./case-report.ts";

/** `line: problem` for rows that name a case that does not exist, or neither case nor test. */
export function brokenCases(page: string, cases: readonly SecurityCase[]): string[] {
  const known = new Set(cases.map((each) => each.case));
  return page.split("\n").flatMap((text, index) => {
    const cells = text.split("|").map((part) => part.trim());
    if (!/^T\d+$/.test(cells[1] ?? "")) return [];
    const shown = cells.at(-2) ?? "";
    const numbers = shown.replaceAll(/`[^`]*` "[^"]*"/g, "").match(/\d+/g) ?? [];
    const absent = numbers.filter((number) => !known.has(Number(number)));
    if (absent.length > 0) return [`${index + 1}: there is no case ${absent.join(", ")}`];
    const leads = numbers.length > 0 || /`[\w./-]+\.test\.ts` "/.test(shown);
    return leads ? [] : [`${index + 1}: ${cells[1]} names neither case nor test`];
  });
}
