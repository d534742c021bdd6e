/** Who a process is to those who collect its traces and metrics. */

/** Resource attributes, named by OpenTelemetry's semantic conventions. */
export type TelemetryIdentity = {
  readonly "service.name": string;
  readonly "service.namespace": "chom";
  /** `host.pid`. */
  readonly "service.instance.id": string;
};
