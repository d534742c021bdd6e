/** An OTLP receiver on the loopback: keeps every span that services and the test itself send. */
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";

export type KeptSpan = {
  readonly service: string;
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for the first span of a trace. */
  readonly parentSpanId: string;
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly attributes: Readonly<Record<string, string>>;
  readonly isError: boolean;
};

type Value = { readonly stringValue?: string; readonly intValue?: string | number };
type Attributes = readonly { readonly key: string; readonly value: Value }[];
type WireSpan = Omit<KeptSpan, "service" | "attributes" | "isError" | "links" | "parentSpanId"> & {
  readonly parentSpanId?: string;
  readonly links?: KeptSpan["links"];
  readonly attributes?: Attributes;
  readonly status?: { readonly code?: number };
};
type Wire = {
  readonly resourceSpans?: readonly {
    readonly resource?: { readonly attributes?: Attributes };
    readonly scopeSpans?: readonly { readonly spans?: readonly WireSpan[] }[];
  }[];
};

const textsOf = (attributes: Attributes = []): Record<string, string> =>
  Object.fromEntries(
    attributes.map(({ key, value }) => [key, String(value.stringValue ?? value.intValue ?? "")]),
  );

const errorStatus = 2;

function spansOf({ resourceSpans = [] }: Wire): KeptSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans = [] }) => {
    const service = textsOf(resource?.attributes)["service.name"] ?? "";
    const spans = scopeSpans.flatMap((scope) => scope.spans ?? []);
    return spans.map(({ status, links = [], attributes, parentSpanId = "", ...span }) => ({
      ...{ ...span, service, links, parentSpanId },
      attributes: textsOf(attributes),
      isError: status?.code === errorStatus,
    }));
  });
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
  return Buffer.concat(parts).toString();
}

/** Listens on a free port; `spans` and `bodies` grow as they come. */
export async function startSpanReceiver() {
  const spans: KeptSpan[] = [];
  const bodies: string[] = [];
  const server = createServer((request, response) => {
    bodyOf(request)
      .then((body) => {
        bodies.push(body);
        if (request.url === "/v1/traces") spans.push(...spansOf(JSON.parse(body) as Wire));
        response.writeHead(200, { "content-type": "application/json" }).end("{}");
      })
      .catch(() => response.writeHead(400).end());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    spans: spans as readonly KeptSpan[],
    /** All that was sent, as it was. */
    bodies: bodies as readonly string[],
    stop: () =>
      new Promise<void>((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}
