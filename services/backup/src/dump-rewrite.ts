/** Makes a dump loadable as the site's own database user: no definers it may not set, no way out of its database. */
import { Transform } from "node:stream";
import { failureOf } from "@chom/shared/failure/failure";

/** Definers, database names and client commands stand within so much of a line's start. */
const leadBytes = 4096;
const newline = 0x0a;

/**
 * Drops the definers of views, triggers, routines and events (the loader becomes it) and the first line that only some
 * clients can read. Fails with `archive-unsafe` on lines that name another database or speak to the client.
 */
export function rewriteDump(): Transform {
  let lead: Buffer[] = [];
  let heldBytes = 0;
  let isPassing = false;
  const release = (push: (data: Buffer) => void): void => {
    if (heldBytes > 0) push(rewriteLead(Buffer.concat(lead, heldBytes)));
    lead = [];
    heldBytes = 0;
  };
  return new Transform({
    transform(data: Buffer, _encoding, done) {
      try {
        for (let at = 0; at < data.length; ) {
          const feed = data.indexOf(newline, at);
          const lineEnd = feed < 0 ? data.length : feed + 1;
          const end = isPassing ? lineEnd : Math.min(lineEnd, at + leadBytes - heldBytes);
          const part = data.subarray(at, end);
          at = end;
          const isLineOver = part.at(-1) === newline;
          if (isPassing) this.push(part);
          else {
            lead.push(part);
            heldBytes += part.length;
            if (isLineOver || heldBytes >= leadBytes) release((out) => this.push(out));
          }
          isPassing = !isLineOver && (isPassing || heldBytes === 0);
        }
        done();
      } catch (error) {
        done(error as Error);
      }
    },
    flush(done) {
      try {
        release((out) => this.push(out));
        done();
      } catch (error) {
        done(error as Error);
      }
    },
  });
}

const definer = /DEFINER=`(?:[^`]|``)*`@`(?:[^`]|``)*`/g;
const defining = /^(?:\/\*!\d+ (?:CREATE|DEFINER)|CREATE (?:OR REPLACE )?DEFINER)/;
const sandbox = /^\/\*M?!999999\\- enable the sandbox mode \*\//;
/** Whatever version a comment makes a statement conditional on, the server that loads it runs it. */
const conditional = /^\s*(?:\/\*M?!\d*\s*)?/;
const escaping =
  /^(?:USE\s|CREATE\s+(?:DATABASE|SCHEMA|USER|ROLE|SERVER)|(?:DROP|ALTER)\s+(?:DATABASE|SCHEMA|USER|ROLE|SERVER)|GRANT\s|REVOKE\s|RENAME\s+USER|SET\s+(?:GLOBAL|PASSWORD|ROLE|DEFAULT\s+ROLE)|(?:UN)?INSTALL\s+(?:PLUGIN|SONAME)|CREATE\s+(?:AGGREGATE\s+)?FUNCTION\s+\S+\s+RETURNS\s+\w+\s+SONAME|COPY\s|\\|source\s|system\s|LOAD\s+(?:DATA|XML))/i;

function rewriteLead(bytes: Buffer): Buffer {
  const text = bytes.toString("latin1");
  if (sandbox.test(text)) return Buffer.alloc(0);
  if (escaping.test(text.replace(conditional, ""))) {
    throw failureOf("archive-unsafe", "the dump reaches beyond its own database");
  }
  return defining.test(text) ? Buffer.from(text.replaceAll(definer, ""), "latin1") : bytes;
}
