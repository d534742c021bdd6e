/** The scripts of this family: what they are given, what they answer. */
import { script } from "@chom/shared/script/script";

const file = (name: string): URL => new URL(`./scripts/${name}`, import.meta.url);

type Version = {
  readonly systemUser: string;
  /** Names the folder of key and chain; one per job. */
  readonly version: string;
  readonly domain: string;
};

/** Makes the key of this version on the server, once, and a request signed with it. Failures: `disk-full`, `tool-missing`. */
export const makeKeyAndCsr = script({
  file: file("make-key-and-csr.sh"),
  timeoutMs: 30_000,
  variables: ({ systemUser, version, domain }: Version) => ({
    SYSTEM_USER: systemUser,
    VERSION: version,
    DOMAIN: domain,
  }),
  output: (fields) => ({ csr: fields.base64("csr").toString("utf8") }),
});

/** Serves an HTTP-01 token, and waits until nginx does. Failures: `http-check-failed`, `tool-missing`. */
export const putChallenge = script({
  file: file("put-challenge.sh"),
  timeoutMs: 30_000,
  variables: (input: { domain: string; token: string; keyAuthorization: string }) => ({
    DOMAIN: input.domain,
    TOKEN: input.token,
    KEY_AUTHORIZATION: input.keyAuthorization,
  }),
  output: () => undefined,
});

/**
 * Installs a chain beside its key, switches to it, and sees it on the wire; puts everything back when any of that
 * fails. Failures: `cert-deploy-failed`, `cert-mismatch`, `nginx-test-failed`, `nginx-foreign-config`, `lock-busy`.
 */
export const installCertificate = script({
  file: file("install-certificate.sh"),
  timeoutMs: 120_000,
  variables: (input: Version & { chain: string; fingerprint: string }) => ({
    SYSTEM_USER: input.systemUser,
    VERSION: input.version,
    DOMAIN: input.domain,
    CHAIN: input.chain,
    FINGERPRINT: input.fingerprint,
  }),
  output: (fields) => ({ changed: fields.flag("changed") }),
});
