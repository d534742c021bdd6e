/** The few reads of DER (X.690) that node:crypto has no call for: requests and one extension of certificates. */
import { failureOf } from "@chom/shared/failure/failure";

/** One element: its tag byte, its content, and all its bytes. */
export type Element = { readonly tag: number; readonly content: Buffer; readonly bytes: Buffer };

export const tags = {
  bitString: 0x03,
  octetString: 0x04,
  objectId: 0x06,
  sequence: 0x30,
  set: 0x31,
} as const;

const broken = (what: string) => failureOf("acme-malformed", `not DER: ${what}`);

function readOne(from: Buffer, at: number): Element & { end: number } {
  const tag = from[at];
  const first = from[at + 1];
  if (tag === undefined || first === undefined) throw broken("cut off");
  if ((tag & 0x1f) === 0x1f) throw broken("long tags are not used here");
  let start = at + 2;
  let length = first;
  if (first >= 0x80) {
    const count = first & 0x7f;
    if (count === 0 || count > 3) throw broken("bad length");
    if (start + count > from.length) throw broken("cut off");
    length = from.readUIntBE(start, count);
    start += count;
  }
  const end = start + length;
  if (end > from.length) throw broken("cut off");
  return { tag, content: from.subarray(start, end), bytes: from.subarray(at, end), end };
}

/** The elements a constructed element holds. Fails with `acme-malformed`. */
export function elements(of: Buffer): Element[] {
  const found: Element[] = [];
  for (let at = 0; at < of.length; ) {
    const { end, ...element } = readOne(of, at);
    found.push(element);
    at = end;
  }
  return found;
}

/** The one element that these bytes are, which must have this tag. Fails with `acme-malformed`. */
export function only(of: Buffer, tag: number): Element {
  const [first, ...rest] = elements(of);
  if (!first || rest.length > 0 || first.tag !== tag) throw broken("another shape was expected");
  return first;
}

/** The value (inside its OCTET STRING) of an extension, given its OBJECT IDENTIFIER in hex; undefined when absent. */
export function extensionValue(extensions: Buffer, oidHex: string): Buffer | undefined {
  for (const extension of elements(extensions)) {
    const parts = elements(extension.content);
    if (parts[0]?.tag === tags.objectId && parts[0].content.toString("hex") === oidHex) {
      return parts.at(-1)?.content;
    }
  }
  return undefined;
}
