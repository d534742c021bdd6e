/** The event log's port: append with optimistic concurrency, load one subject, read a stream in order. */

/** Headers of a stored message, CloudEvents names without their prefix. */
export type Envelope = {
  /** Also the `Nats-Msg-Id`. */
  readonly id: string;
  /** Fully qualified message name, like `chom.backup.v1.BackupCompleted`. */
  readonly type: string;
  readonly time: Date;
  readonly source: string;
  readonly actor: string;
  readonly causationId: string;
  readonly correlationId: string;
  /** W3C trace context; empty when there is none. */
  readonly traceparent: string;
};

export type NewEntry = Envelope & { readonly subject: string; readonly body: string };
export type Entry = NewEntry & {
  /** Sequence in its stream: what `expectedSequence` compares and positions mean. */
  readonly sequence: number;
};

export type StreamName = "EVENTS" | "JOURNAL";

export type EventLog = {
  /** All entries of one exact subject after a sequence, oldest first; every acknowledged append is seen. */
  load(stream: StreamName, subject: string, afterSequence?: number): Promise<readonly Entry[]>;
  /** The last entry of one exact subject. */
  last(stream: StreamName, subject: string): Promise<Entry | undefined>;
  /** The entry at a sequence of the stream, whatever its subject; undefined when there is none (any more). */
  at(stream: StreamName, sequence: number): Promise<Entry | undefined>;
  /** The stream's last sequence; 0 when nothing was ever stored. */
  tip(stream: StreamName): Promise<number>;
  /**
   * Appends entries of one subject, all or none, when the subject's last sequence is the expected one (0: none yet).
   * Answers the sequence of the last one. Repeating an append that was stored (same ids) answers the same: after a
   * conflict everything behind the expected sequence is read, and finding the own ids is success.
   * Throws `conflict` ("wrong-sequence") when someone else appended, `transient` ("log-unavailable") otherwise.
   */
  append(
    stream: StreamName,
    subject: string,
    expectedSequence: number,
    entries: readonly NewEntry[],
  ): Promise<number>;
  /**
   * Up to `batch` entries whose subject matches a filter (wildcards allowed), after a sequence, in stream order;
   * empty when there are none yet. `lastSequence` is how far the stream was scanned, so that filtered-out entries
   * are not scanned again. A replica may answer that lags a little: then entries are missing at the end, never between.
   */
  read(
    stream: StreamName,
    filter: string,
    afterSequence: number,
    batch: number,
  ): Promise<{ entries: readonly Entry[]; lastSequence: number }>;
  /** Identifies this incarnation of the stream; a recreated stream has another, higher one. */
  epoch(stream: StreamName): Promise<number>;
  /** Calls back soon after something matching was appended; a hint only, it may miss. Answers how to stop. */
  hint(stream: StreamName, filter: string, wake: () => void): () => void;
};
