import { expect, test } from "vitest";
import { childTraceparent, parseTraceparent } from "./trace.ts";

const header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const counting = (bytes: number) => Buffer.alloc(bytes, 0xab);

test("a header is read into its parts", () => {
  expect(parseTraceparent(header)).toEqual({
    traceId: "0af7651916cd43dd8448eb211c80319c",
    spanId: "b7ad6b7169203331",
    sampled: true,
  });
});

test.each([
  ["", "empty"],
  [header.toUpperCase(), "upper case"],
  [header.replace("00-", "ff-"), "version ff"],
  [`${header}-x`, "longer than version 0"],
  ["00-00000000000000000000000000000000-b7ad6b7169203331-01", "zero trace"],
  ["00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", "zero span"],
])("%j begins a new trace (%s)", (text) => {
  expect(parseTraceparent(text)).toBeUndefined();
  expect(childTraceparent(text, counting)).toBe(`00-${"ab".repeat(16)}-${"ab".repeat(8)}-01`);
});

test("a child keeps the trace and its sampling, with a span of its own", () => {
  const unsampled = header.replace(/01$/, "00");
  expect(childTraceparent(unsampled, counting)).toBe(
    `00-0af7651916cd43dd8448eb211c80319c-${"ab".repeat(8)}-00`,
  );
});

test("a later version with more fields is still understood", () => {
  expect(parseTraceparent(`${header.replace("00-", "01-")}-more`)?.spanId).toBe("b7ad6b7169203331");
});
