import { Secret } from "@chom/shared/secrets/secret";
import { expect, test } from "vitest";
import { makeBackupKeys, readBackupKeys } from "./backup-keys.ts";
import { canonicalJson, type Manifest, signManifest, verifyManifest } from "./manifest.ts";

const { signingKeys } = readBackupKeys(makeBackupKeys());
const owner = { tenant: "acme", siteId: "site-1", backupId: "backup-1" };
const manifest: Manifest = {
  format: 1,
  ...owner,
  kind: "database",
  components: [
    {
      name: "database",
      key: "acme/site-1/backup-1/1.7/database.sql.zst.age",
      plainBytes: 10,
      plainSha256: "a".repeat(64),
      storedBytes: 12,
      storedSha256: "b".repeat(64),
      entries: 1,
      tables: [{ name: "odd\n`name`", rows: 3 }],
      takenAt: "2026-01-01T00:00:00.000Z",
    },
  ],
  tools: { "mariadb-dump": "10.11" },
  gapMs: 0,
  createdAt: "2026-01-01T00:00:00.000Z",
  finishedAt: "2026-01-01T00:00:01.000Z",
  recipients: ["age1x"],
  site: {
    domain: "a.example",
    kind: "SITE_KIND_PHP",
    phpVersion: "8.2",
    systemUser: "s-1",
    rootPath: "/srv/sites/s-1",
    databaseName: "s_1",
  },
};
const signed = signManifest(manifest, signingKeys[0]);

test("a signed manifest is read back as it was", () => {
  expect(verifyManifest(signed, signingKeys, owner)).toEqual(manifest);
});

test.each([
  ["tenant", "foreign"],
  ["siteId", "site-2"],
  ["backupId", "backup-2"],
])("a genuine manifest of another %s is refused as foreign", (name, value) => {
  expect(() => verifyManifest(signed, signingKeys, { ...owner, [name]: value })).toThrow(
    expect.objectContaining({ code: "foreign-manifest", kind: "security" }),
  );
});

test("case 17: no byte of a manifest can change unnoticed", () => {
  for (let at = 0; at < signed.length; at += 1) {
    const changed = Buffer.from(signed);
    changed[at] = (changed[at] ?? 0) ^ 1;
    expect(() => verifyManifest(changed, signingKeys, owner), `byte ${at}`).toThrow(
      expect.objectContaining({ code: "manifest-invalid" }),
    );
  }
});

test("case 17: another spelling of the same manifest is refused", () => {
  const spaced = Buffer.from(JSON.stringify(JSON.parse(signed.toString()), null, 1));
  expect(() => verifyManifest(spaced, signingKeys, owner)).toThrow("canonical");
});

test("case 17: a manifest signed by a key that is not ours is refused, an older key of ours is not", () => {
  const other = readBackupKeys(makeBackupKeys()).signingKeys[0];
  const theirs = signManifest(manifest, other);
  expect(() => verifyManifest(theirs, signingKeys, owner)).toThrow("unknown key");
  expect(verifyManifest(theirs, [...signingKeys, other], owner)).toEqual(manifest);
});

test("canonical JSON has one text for one value", () => {
  expect(canonicalJson({ b: [1, { d: null, c: "x" }], a: undefined })).toBe(
    '{"b":[1,{"c":"x","d":null}]}',
  );
});

test("a key file without an identity or a signing key is refused by name", () => {
  const lines = makeBackupKeys().reveal().split("\n");
  for (const kind of ["AGE-SECRET", "CHOM-SIGNING"]) {
    const text = new Secret(lines.filter((line) => !line.startsWith(kind)).join("\n"));
    expect(() => readBackupKeys(text)).toThrow(expect.objectContaining({ code: "key-missing" }));
  }
  expect(() => readBackupKeys(new Secret("hello"))).toThrow("unknown kind");
});
