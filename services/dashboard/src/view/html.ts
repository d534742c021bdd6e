/** Markup in which every value is text, unless it is markup itself: nothing that a person named can become a tag. */
const marked: unique symbol = Symbol("markup");

/** Text that is markup already. Made by `html` only. */
export type Html = { readonly [marked]: string };

export type Value = Html | string | number | bigint | undefined | null | false | readonly Value[];

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

const escaped = (text: string): string => text.replace(/[&<>"']/g, (sign) => entities[sign] ?? "");

function markupOf(value: Value): string {
  if (value === undefined || value === null || value === false) return "";
  if (typeof value !== "object") return escaped(String(value));
  if (marked in value) return value[marked];
  return value.map(markupOf).join("");
}

/**
 * A template of markup. Values stand between tags or within quoted attributes, where escaped text can end neither;
 * lists are joined, and undefined, null and false are nothing.
 */
export const html = (strings: TemplateStringsArray, ...values: readonly Value[]): Html => ({
  [marked]: strings.reduce((text, part, at) => text + markupOf(values[at - 1]) + part),
});

/** The text of a document. */
export const textOf = (markup: Html): string => markup[marked];
