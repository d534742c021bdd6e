/** Seals bytes for one tenant; the port of payload encryption. */

export type SealedBytes = { readonly keyId: string; readonly ciphertext: Buffer };

export type Sealer = {
  /** AES-256-GCM under the tenant's data key; `context` is authenticated and must be given again to open. */
  seal(tenant: string, context: readonly string[], plain: Buffer): SealedBytes;
  /** Failure `permanent` "seal-broken" when tenant, context or bytes differ; `operator` "key-missing" for an unknown key id. */
  open(tenant: string, context: readonly string[], sealed: SealedBytes): Buffer;
  /** Keyed hash (hex) of bytes for comparing inputs without keeping them. */
  fingerprint(tenant: string, bytes: Buffer): string;
};
