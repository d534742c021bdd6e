/** A CA that misbehaves on purpose, over plain HTTP on loopback: what pebble cannot do (rate limits, lies, lost answers). */
import { createPublicKey, type JsonWebKey, randomBytes, verify } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export type Reply = { status: number; body?: unknown; headers?: Record<string, string> };
type SignedCall = { path: string; payload: unknown; kid: string | undefined; count: number };

export type FakeCa = {
  readonly directoryUrl: string;
  readonly origin: string;
  /** Paths of the requests so far, in order. */
  readonly calls: string[];
  /** How often a nonce came that was never given, or came before. */
  replays: number;
  /** Share of good nonces that are refused all the same, in order: a sequence of true (refuse) and false. */
  refuseNonce: () => boolean;
  /** Answers instead of the usual ones; undefined falls through. `drop` closes the connection after the effect. */
  override: (call: SignedCall) => Reply | "drop" | undefined;
  directory: Record<string, unknown>;
  close(): Promise<void>;
};

export const problem = (status: number, type: string, detail = "because", headers = {}): Reply => ({
  status,
  headers: { "content-type": "application/problem+json", ...headers },
  body: { type: `urn:ietf:params:acme:error:${type}`, detail },
});

const token = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0";

/** What an honest CA with one order at a time answers. */
function honest(origin: string, chain: string): (call: SignedCall) => Reply {
  const state = { order: "pending", orders: 0, identifiers: [] as unknown[] };

  return ({ path, payload }) => {
    const order = (status = 200): Reply => ({
      status,
      headers: { location: `${origin}/order/${state.orders}` },
      body: {
        status: state.order,
        identifiers: state.identifiers,
        authorizations: [`${origin}/authz/1`],
        finalize: `${origin}/finalize`,
        ...(state.order === "valid" ? { certificate: `${origin}/cert` } : {}),
      },
    });
    const challenge = { type: "http-01", url: `${origin}/chall`, status: "pending", token };
    if (path === "/new-account") {
      return {
        status: 201,
        headers: { location: `${origin}/account/1` },
        body: { status: "valid" },
      };
    }
    if (path === "/new-order") {
      state.orders += 1;
      state.order = "pending";
      state.identifiers = (payload as { identifiers: unknown[] }).identifiers;
      return order(201);
    }
    if (path === "/chall") {
      state.order = "ready";
      return { status: 200, body: challenge };
    }
    if (path === "/authz/1") {
      const status = state.order === "pending" ? "pending" : "valid";
      return {
        status: 200,
        body: { status, identifier: state.identifiers[0], challenges: [challenge] },
      };
    }
    if (path === "/finalize") {
      if (state.order !== "ready") return problem(403, "orderNotReady");
      state.order = "valid";
      return order();
    }
    if (path === "/cert") return { status: 200, body: chain };
    return path.startsWith("/order/") ? order() : problem(404, "malformed");
  };
}

/** Starts it. It issues `chain` for every order, valid as soon as it is finalized. */
// oxlint-disable-next-line max-lines-per-function -- one small server, told in one place
export async function fakeCa(chain: string): Promise<FakeCa> {
  const nonces = new Set<string>();
  const seen = new Map<string, number>();
  const keys = new Map<string, JsonWebKey>();
  let usual: (call: SignedCall) => Reply = () => problem(500, "serverInternal");
  const newNonce = (): string => {
    const nonce = randomBytes(12).toString("base64url");
    nonces.add(nonce);
    return nonce;
  };
  const check = (body: string, path: string): Reply | SignedCall => {
    const jws = JSON.parse(body);
    const header = JSON.parse(Buffer.from(jws.protected, "base64url").toString());
    if (!nonces.delete(header.nonce)) ca.replays += 1;
    if (ca.refuseNonce()) return problem(400, "badNonce");
    if (header.jwk) keys.set(`${origin}/account/1`, header.jwk);
    const jwk = header.jwk ?? keys.get(header.kid);
    if (!jwk) return problem(400, "accountDoesNotExist");
    const key = createPublicKey({ key: jwk, format: "jwk" });
    const signature = Buffer.from(jws.signature, "base64url");
    const signed = Buffer.from(`${jws.protected}.${jws.payload}`);
    const isRight = verify("sha256", signed, { key, dsaEncoding: "ieee-p1363" }, signature);
    if (!isRight || header.url !== `${origin}${path}`)
      return problem(400, "malformed", "signature");
    const count = (seen.get(path) ?? 0) + 1;
    seen.set(path, count);
    const text = Buffer.from(jws.payload, "base64url").toString();
    return { path, payload: text === "" ? undefined : JSON.parse(text), kid: header.kid, count };
  };
  const answer = (response: ServerResponse, { status, headers, body }: Reply): void => {
    response.writeHead(status, { "replay-nonce": newNonce(), ...headers });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  };
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = request.url ?? "";
    ca.calls.push(path);
    if (path === "/dir") return answer(response, { status: 200, body: ca.directory });
    if (request.method === "HEAD") return answer(response, { status: 200 });
    let body = "";
    for await (const part of request) body += part;
    const call =
      body === "" ? { path, payload: undefined, kid: undefined, count: 1 } : check(body, path);
    if ("status" in call) return answer(response, call);
    const instead = ca.override(call);
    if (instead === undefined || instead === "drop") {
      const reply = usual(call);
      if (instead === "drop") response.destroy();
      else answer(response, reply);
    } else answer(response, instead);
  };

  const server = createServer((request, response) => void serve(request, response));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  usual = honest(origin, chain);
  const ca: FakeCa = {
    origin,
    directoryUrl: `${origin}/dir`,
    calls: [],
    replays: 0,
    refuseNonce: () => false,
    override: () => undefined,
    directory: {
      newNonce: `${origin}/new-nonce`,
      newAccount: `${origin}/new-account`,
      newOrder: `${origin}/new-order`,
      renewalInfo: `${origin}/ari`,
      meta: { caaIdentities: ["fake.test"] },
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return ca;
}
