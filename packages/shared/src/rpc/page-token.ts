/** Page tokens: where a list goes on, opaque to callers, bound to tenant, list and filters by a keyed hash. */
import { timingSafeEqual } from "node:crypto";
import { isId } from "../aggregate/id.ts";
import { invalid } from "../failure/failure.ts";
import type { Sealer } from "../secrets/sealer.ts";

/** The last row of a page: lists are sorted by creation time, then id. */
export type Cursor = { readonly createdAt: Date; readonly id: string };

export type TokenScope = {
  readonly tenant: string;
  /** Which list, and everything that filters it: a token of one filter does not fit another. */
  readonly list: string;
  readonly filter?: Readonly<Record<string, unknown>>;
};

const macHex = 32;

function macOf(sealer: Sealer, { tenant, list, filter = {} }: TokenScope, cursor: string): string {
  const parts = JSON.stringify(["page-token", list, Object.entries(filter).toSorted(), cursor]);
  return sealer.fingerprint(tenant, Buffer.from(parts)).slice(0, macHex);
}

/** The token of the page after this row. */
export function encodeToken(sealer: Sealer, scope: TokenScope, { createdAt, id }: Cursor): string {
  const cursor = `${createdAt.getTime()}.${id}`;
  return Buffer.from(`${cursor}.${macOf(sealer, scope, cursor)}`).toString("base64url");
}

const refused = () =>
  invalid([{ field: "page_token", description: "is not a token of this list and these filters" }]);

/** Where to go on; undefined for the first page (""). Throws Failure `invalid` for anything we did not make. */
export function decodeToken(sealer: Sealer, scope: TokenScope, token: string): Cursor | undefined {
  if (token === "") return undefined;
  if (token.length > 512) throw refused();
  const text = Buffer.from(token, "base64url").toString("latin1");
  const [, time, id, mac] = /^(\d{1,15})\.([a-z0-9-]{1,64})\.([0-9a-f]{32})$/.exec(text) ?? [];
  if (!time || !id || !mac || !isId(id)) throw refused();
  const expected = macOf(sealer, scope, `${time}.${id}`);
  if (!timingSafeEqual(Buffer.from(mac), Buffer.from(expected))) throw refused();
  return { createdAt: new Date(Number(time)), id };
}

/**
 * Cuts rows fetched with a limit of `pageSize + 1` to the page, and makes the next token when there are more rows.
 */
export function pageOf<Row>(
  rows: readonly Row[],
  pageSize: number,
  tokenOf: (last: Row) => string,
): { rows: readonly Row[]; nextPageToken: string } {
  const page = rows.slice(0, pageSize);
  const last = page.at(-1);
  return { rows: page, nextPageToken: rows.length > pageSize && last ? tokenOf(last) : "" };
}
