/** Shapes of RPC handlers: plain async functions of request and caller, errors as Failures. */
import type { ServiceDefinition, UntypedServiceImplementation } from "@grpc/grpc-js";

/** Who calls, from the credential alone. */
export type Caller = {
  /** From the token; empty for a service of CHOM. */
  readonly tenant: string;
  /** Subject of the token, or the service's name. */
  readonly actor: string;
  readonly permissions: readonly string[];
  /** Name of the calling service by its mutual-TLS identity; undefined for callers with tokens. */
  readonly service: string | undefined;
  readonly traceparent: string;
  readonly signal: AbortSignal;
  /** When the caller stops waiting. */
  readonly deadline: Date;
};

export type RpcService = {
  readonly definition: ServiceDefinition;
  readonly implementation: UntypedServiceImplementation;
};
