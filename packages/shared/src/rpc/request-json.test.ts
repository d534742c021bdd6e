import { BackupKind, CreateBackupRequest } from "@chom/proto/chom/backup/v1/backup";
import { expect, test } from "vitest";
import { canonicalRequest, requestBytes } from "./request-json.ts";

const type = "chom.backup.v1.CreateBackupRequest";

test("a request is told in one form, whatever names and order it was given in", () => {
  const canonical = '{"kind":"BACKUP_KIND_FULL","siteId":"site-1"}';
  expect(canonicalRequest(type, '{"site_id":"site-1","kind":"BACKUP_KIND_FULL"}', "input")).toBe(
    canonical,
  );
  expect(canonicalRequest(type, '{"kind":"BACKUP_KIND_FULL","siteId":"site-1"}', "input")).toBe(
    canonical,
  );
});

test("what the method reads is what was asked, with the job's id as its request id", () => {
  const bytes = requestBytes(type, '{"kind":"BACKUP_KIND_FULL","siteId":"site-1"}', "job-1");
  expect(CreateBackupRequest.decode(bytes)).toEqual(
    CreateBackupRequest.fromPartial({
      requestId: "job-1",
      siteId: "site-1",
      kind: BackupKind.FULL,
    }),
  );
});

test.for([
  ["no JSON", "{", "must be JSON"],
  ["no object", "[1]", "must be a JSON object"],
  ["an unknown field", '{"siteid":"x"}', "siteid"],
  ["a value of another type", '{"siteId":5}', "site_id"],
  ["an unknown kind", '{"kind":"BACKUP_KIND_HALF"}', "BackupKind"],
  ["a request id", '{"requestId":"x"}', "must hold no request id"],
] as const)("%s is refused, and the field named", ([, text, why]) => {
  const refused = () => canonicalRequest(type, text, "input_json");
  expect(refused).toThrow(
    expect.objectContaining({
      kind: "invalid",
      violations: [{ field: "input_json", description: expect.stringContaining(why) }],
    }),
  );
});
