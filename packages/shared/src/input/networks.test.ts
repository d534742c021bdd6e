import { expect, test } from "vitest";
import { isPublicAddress, networks, networksOf, publicOnly } from "./networks.ts";
import { lookupIn, resolveIn } from "./resolve.ts";

const notPublic = [
  ..."127.0.0.1 127.255.255.255 0.0.0.0 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254".split(
    " ",
  ),
  ..."100.64.0.1 100.100.100.200 192.0.0.192 168.63.129.16 198.18.0.1 224.0.0.1 239.255.255.255".split(
    " ",
  ),
  ..."240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:7f00:1 ::ffff:8.8.8.8".split(
    " ",
  ),
  ..."64:ff9b::7f00:1 2002:7f00:1:: 2001:0:1::1 fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1 100::1".split(
    " ",
  ),
];
const nonsense = [
  "",
  "localhost",
  "127.1",
  "0x7f.1",
  "2130706433",
  "fe80::1%eth0",
  "8.8.8.8%x",
  "[::1]",
  "1.2.3.4 ",
];

test.each([...notPublic, ...nonsense])("case 25: %j is nobody's public address", (address) => {
  expect(isPublicAddress(address)).toBe(false);
  expect(publicOnly.allows(address)).toBe(false);
});

test.each([
  "8.8.8.8",
  "172.32.0.1",
  "100.128.0.1",
  "203.0.113.7",
  "2001:4860:4860::8888",
  "2606:4700::1111",
])("%s is public", (address) => {
  expect(publicOnly.allows(address)).toBe(true);
});

test("case 25: a deployment allows its own networks and no others", () => {
  const { allows } = networksOf(["10.1.0.0/16", "127.0.0.1/32", "fd12::/16"]);
  const asked = ["10.1.2.3", "10.2.0.1", "127.0.0.1", "127.0.0.2", "fd12::1", "fd13::1", "8.8.8.8"];
  expect(asked.map(allows)).toEqual([true, false, true, false, true, false, true]);
  // The mapped form of an allowed address is another way to write it, and not the one that was allowed.
  expect(allows("::ffff:10.1.2.3")).toBe(false);
  expect(networksOf(["0.0.0.0/0"]).allows("localhost")).toBe(false);
});

test.each([
  "10.0.0.0",
  "10.0.0.0/33",
  "10.0.0.0/-1",
  "10.0.0.0/8x",
  "::/129",
  "x/8",
  "fe80::%1/10",
  "/8",
])("%j is no network, and the setting says so", (text) => {
  expect(() => networks("CHOM_X").read(text)).toThrow("must list networks like");
});

test("no setting means public addresses only", () => {
  expect(networks("CHOM_X").read(undefined).allows("10.0.0.1")).toBe(false);
  expect(networks("CHOM_X").read("10.0.0.0/8, ::1/128").allows("10.0.0.1")).toBe(true);
});

test("case 26: a name with one address inside is refused whole, and a name without any too", async () => {
  const to =
    (...found: string[]) =>
    async () =>
      found.map((address) => ({ address, family: 4 }));
  const refused = { code: "address-not-allowed" };
  const resolve = (...found: string[]) => resolveIn(publicOnly, "x.example", to(...found));
  await expect(resolve("8.8.8.8", "10.0.0.1")).rejects.toMatchObject(refused);
  await expect(resolve("169.254.169.254")).rejects.toMatchObject(refused);
  await expect(resolve()).rejects.toMatchObject(refused);
  expect(await resolve("8.8.8.8")).toEqual([{ address: "8.8.8.8", family: 4 }]);
});

test("case 26: a look-up answers in the form that was asked for", async () => {
  const found = [{ address: "8.8.8.8", family: 4 }];
  const lookup = lookupIn(publicOnly, async () => found);
  const answer = (all: boolean) =>
    new Promise((resolve) => lookup("x.example", { all }, (...values) => resolve(values)));
  expect(await answer(true)).toEqual([null, found]);
  expect(await answer(false)).toEqual([null, "8.8.8.8", 4]);
});
