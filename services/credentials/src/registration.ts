/** Reads a registration: every field is checked before anything is stored. Pure. */
import { isIP } from "node:net";
import type { RegisterServerRequest } from "@chom/proto/chom/credentials/v1/credentials";
import type { Networks } from "@chom/shared/input/networks";
import { serverNameProblem, unixUserProblem } from "@chom/shared/input/names";
import { fieldsOf } from "@chom/shared/rpc/fields";

const kinds: ReadonlyMap<string, number> = new Map([
  ["ssh-ed25519", 51],
  ["ecdsa-sha2-nistp256", 104],
  ["ecdsa-sha2-nistp384", 136],
  ["ecdsa-sha2-nistp521", 172],
]);
const minRsaBytes = 256 + 4;

/** Why a line is no host key that may be pinned, or undefined when it is one. */
export function hostKeyProblem(line: string): string | undefined {
  const [, type = "", encoded = ""] =
    /^([a-z0-9-]{7,24}) ([A-Za-z0-9+/]{40,2000}={0,2})$/.exec(line) ?? [];
  const blob = Buffer.from(encoded, "base64");
  if (type === "" || blob.toString("base64") !== encoded)
    return "must be a line like `ssh-ed25519 AAAA…`";
  const length = blob.readUInt32BE(0);
  if (blob.subarray(4, 4 + length).toString("latin1") !== type)
    return "must be of the kind it names";
  if (type === "ssh-rsa") {
    return blob.length >= minRsaBytes ? undefined : "must have at least 2048 bits";
  }
  return kinds.get(type) === blob.length ? undefined : "must be an Ed25519, ECDSA or RSA key";
}

/** The facts to register; Failure `invalid` with every violation. Comments of host key lines are left out. */
export function readRegistration(request: RegisterServerRequest, networks: Networks) {
  const fields = fieldsOf(request);
  const requestId = fields.id("requestId");
  const name = fields.fitting("name", serverNameProblem);
  const address = fields.address("address");
  // What a name stands for is found out when it is connected to; this one needs no asking.
  const literal = /(?:^|\.)localhost$/.test(address) ? "127.0.0.1" : address;
  if (isIP(literal) !== 0 && !literal.includes("%") && !networks.allows(literal)) {
    fields.refuse("address", "is not allowed: must be public or in an allowed network");
  }
  const port = fields.int("port", { min: 1, max: 65_535, default: 22 });
  const user = request.user === "" ? "chom" : request.user;
  fields.optionalFitting("user", unixUserProblem);
  const given = fields.texts("hostKeys", { max: 2_100, items: { min: 1, max: 8 } });
  const hostKeys = given.map((line) => line.trim().split(/\s+/).slice(0, 2).join(" "));
  for (const [index, line] of hostKeys.entries()) {
    const problem = hostKeyProblem(line);
    if (problem) fields.refuse("hostKeys", `entry ${index}: ${problem}`);
  }
  fields.done();
  return { requestId, name, address, port, user, hostKeys };
}
