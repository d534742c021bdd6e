/**
 * Seals bytes for one tenant; the port of payload encryption. Beside their own, its methods have two failures:
 * `transient` "tenant-key-unavailable" without the tenant's keys, and `permanent` "tenant-erased" once they are destroyed.
 */

export type SealedBytes = { readonly keyId: string; readonly ciphertext: Buffer };

export type Sealer = {
  /**
   * Brings the tenant's keys here and makes sure that they are no older than seconds; await it before the three below.
   * Undefined when they are here already. Failure `transient` "tenant-key-unavailable" when nobody has them to give.
   */
  ready(tenant: string): Promise<void> | undefined;
  /** AES-256-GCM under the tenant's data key; `context` is authenticated and must be given again to open. */
  seal(tenant: string, context: readonly string[], plain: Buffer): SealedBytes;
  /** Failure `permanent` "seal-broken" when tenant, context or bytes differ; `operator` "key-missing" for an unknown key id. */
  open(tenant: string, context: readonly string[], sealed: SealedBytes): Buffer;
  /** Keyed hash (hex) of bytes for comparing inputs without keeping them. */
  fingerprint(tenant: string, bytes: Buffer): string;
};
