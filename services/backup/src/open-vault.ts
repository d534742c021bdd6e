/** From settings to a vault: a folder or a bucket. */
import { fileURLToPath } from "node:url";
import { failureOf } from "@chom/shared/failure/failure";
import { Secret } from "@chom/shared/secrets/secret";
import type { Vault } from "./vault.ts";
import { localVault } from "./vault-local.ts";
import { s3Vault } from "./vault-s3.ts";

/**
 * Opens `file:///folder` or `s3://bucket?endpoint=https://…&region=…` (region defaults to us-east-1). A bucket needs
 * credentials: lines `access_key_id=…` and `secret_access_key=…`. Throws `invalid-config` naming the setting.
 */
export function openVault(address: string, credentials: Secret | undefined): Vault {
  const url = new URL(address);
  if (url.protocol === "file:") return localVault(fileURLToPath(url));
  if (url.protocol !== "s3:") throw bad("CHOM_VAULT must begin with file:// or s3://");
  const endpoint = url.searchParams.get("endpoint") ?? "";
  if (!/^https?:\/\/[^/?#]+$/.test(endpoint)) throw bad("CHOM_VAULT needs ?endpoint=https://host");
  const lines = (credentials?.reveal() ?? "").split("\n").map((line) => line.trim());
  const valueOf = (name: string) =>
    lines.find((line) => line.startsWith(`${name}=`))?.slice(name.length + 1) ?? "";
  const [accessKeyId, secret] = [valueOf("access_key_id"), valueOf("secret_access_key")];
  if (!accessKeyId || !secret) {
    throw bad("CHOM_VAULT_CREDENTIALS_FILE needs access_key_id= and secret_access_key=");
  }
  return s3Vault({
    endpoint,
    region: url.searchParams.get("region") ?? "us-east-1",
    bucket: url.hostname,
    accessKeyId,
    secretAccessKey: new Secret(secret),
  });
}

const bad = (why: string) => failureOf("invalid-config", why);
