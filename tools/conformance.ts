/** Reads docs/conformance.md: each row names the tests that show it, or says why there is none. Pure. */

export type Named = { readonly line: number; readonly file: string; readonly test: string };

/** Every `file` "test" of the page's tables. */
export const namedTests = (page: string): readonly Named[] =>
  page.split("\n").flatMap((text, index) =>
    [...text.matchAll(/`([\w./-]+\.test\.ts)` "([^"]+)"/g)].map(([, file = "", test = ""]) => ({
      line: index + 1,
      file,
      test,
    })),
  );

const heading = /^\|(?: *[\w ,]+ *\|)+$/;
/** Rows whose last column names no test and does not begin with "not yet" or "differs". */
export const unproven = (page: string): readonly number[] =>
  page.split("\n").flatMap((text, index, lines) => {
    if (!text.startsWith("|") || text.startsWith("|---")) return [];
    if (heading.test(text) && lines[index + 1]?.startsWith("|---")) return [];
    const last = text.split("|").at(-2)?.trim() ?? "";
    return /`[\w./-]+\.test\.ts` "|^not yet|^differs/.test(last) ? [] : [index + 1];
  });

/** The names that a test file gives its tests, as they are written there (`%s` for what a table fills in). */
export const testNames = (source: string): ReadonlySet<string> =>
  new Set(
    [...source.matchAll(/\(\s*(["'`])((?:\\.|(?!\1)[^\\])*)\1\s*,/g)].map(([, , name = ""]) =>
      name.replaceAll(/\\(.)/g, "$1"),
    ),
  );
