import { createHash } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { networksOf } from "@chom/shared/input/networks";
import { scratchFolder } from "@chom/stack/scratch-folder";
import { afterAll, beforeAll, expect, test } from "vitest";
import { applicationArchive, configuredArchive } from "./application-archive.ts";

const scratch = scratchFolder("archive-test");
const folder = scratch.path;
const kept = join(folder, "kept");
const bytes = `an archive of ${folder}`;
const sha256 = createHash("sha256").update(bytes).digest("hex");
const other = createHash("sha256").update(`not ${bytes}`).digest("hex");
const signal = AbortSignal.timeout(30_000);
const local = networksOf(["127.0.0.0/8"]);
let requests = 0;
const server = createServer((request, response) => {
  requests += 1;
  response.statusCode = request.url === "/archive.tar.gz" ? 200 : 404;
  response.end(bytes);
});
let address = "";

beforeAll(async () => {
  await once(server.listen(0, "127.0.0.1"), "listening");
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.close();
  scratch.remove();
});

test("an address is fetched once, checked and kept", async () => {
  for (let round = 0; round < 2; round += 1) {
    const { sizeBytes, open } = await applicationArchive(
      `${address}/archive.tar.gz`,
      sha256,
      local,
      kept,
    ).ready(signal);
    expect(sizeBytes).toBe(bytes.length);
    expect(await text(open())).toBe(bytes);
  }
  expect(requests).toBe(1);
});

test("a download with another hash is refused and not kept", async () => {
  const wrong = applicationArchive(`${address}/archive.tar.gz`, other, local, kept);
  const before = requests;
  await expect(wrong.ready(signal)).rejects.toMatchObject({ code: "checksum-mismatch" });
  await expect(wrong.ready(signal)).rejects.toMatchObject({ code: "checksum-mismatch" });
  expect(requests).toBe(before + 2);
});

test("an address that answers badly or not at all is tried again later", async () => {
  const absent = applicationArchive(`${address}/absent`, other, local, kept);
  await expect(absent.ready(signal)).rejects.toMatchObject({
    code: "repo-unavailable",
    kind: "transient",
  });
  const silent = applicationArchive("http://127.0.0.1:1/x", other, local, kept);
  await expect(silent.ready(signal)).rejects.toMatchObject({ code: "repo-unavailable" });
});

test("a file that changed after it was checked is checked again", async () => {
  const path = join(folder, "archive.tar.gz");
  writeFileSync(path, bytes);
  const archive = applicationArchive(path, sha256, local, kept);
  expect((await archive.ready(signal)).sizeBytes).toBe(bytes.length);
  writeFileSync(path, "swapped");
  await expect(archive.ready(signal)).rejects.toMatchObject({ code: "checksum-mismatch" });
});

test("half a configuration is refused, none is none", () => {
  expect(configuredArchive(undefined, undefined, "CHOM_X")).toBeUndefined();
  for (const [location, hash] of [
    ["/x", undefined],
    [undefined, sha256],
    ["/x", "short"],
  ] as const) {
    const configure = () => configuredArchive(location, hash, "CHOM_X");
    expect(configure).toThrow(expect.objectContaining({ code: "invalid-config" }));
  }
});

test("case 25, 27: an archive is not fetched from a network that is not allowed", async () => {
  const before = requests;
  const inside = applicationArchive(`${address}/archive.tar.gz`, other, undefined, kept);
  await expect(inside.ready(signal)).rejects.toMatchObject({ code: "address-not-allowed" });
  expect(requests).toBe(before);
});
