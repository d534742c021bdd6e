import { expect, test } from "vitest";
import { keyLineSettings } from "./key-lines.ts";

test("sources of keys are addresses and networks, of which nothing else can get into authorized_keys", () => {
  const { read } = keyLineSettings.keyFrom;
  expect(read(undefined)).toBe("");
  expect(read(" 192.0.2.7, 2001:db8::/32 ,198.51.100.0/24")).toBe(
    "192.0.2.7,2001:db8::/32,198.51.100.0/24",
  );
  for (const odd of ["*", "!192.0.2.7", 'x",command="id', "10.0.0.0/33", "fe80::1%eth0", "web1"]) {
    expect(() => read(odd), odd).toThrow("must list addresses and networks");
  }
});
