/** How long work tells a person what it is doing: one line at a time, without a line end. */

/** Takes one line for people, such as "fetching nats-server"; must not throw. */
export type Progress = (line: string) => void;

/** For callers that have nobody to tell. */
export const silent: Progress = () => {};

/** Writes each line to standard error, so that standard output stays free for results. */
export const toStderr: Progress = (line) => {
  process.stderr.write(`${line}\n`);
};
