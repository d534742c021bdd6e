/** The little XML that S3 speaks: flat elements without attributes. */

/** An element; the content is taken as it is. */
export const tag = (name: string, content: string): string => `<${name}>${content}</${name}>`;
/** The contents of every element of a name. */
export const tags = (xml: string, name: string): string[] =>
  [...xml.matchAll(new RegExp(`<${name}>([\\s\\S]*?)</${name}>`, "g"))].map(
    ([, text]) => text ?? "",
  );
/** Text made safe for an element's content. */
export const escapeText = (text: string): string =>
  text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);
/** The text that was made safe. */
export const unescapeText = (text: string): string =>
  text
    .replace(/&#(\d+);/g, (_, point: string) => String.fromCodePoint(Number(point)))
    .replaceAll("&quot;", '"')
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&amp;", "&");
