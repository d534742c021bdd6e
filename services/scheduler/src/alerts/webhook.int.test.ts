import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { networksOf, publicOnly } from "@chom/shared/input/networks";
import { Secret } from "@chom/shared/secrets/secret";
import { expect, onTestFinished, test } from "vitest";
import { isSigned, send, signatureOf, type Webhook } from "./webhook.ts";

const local = networksOf(["127.0.0.0/8"]);
const secret = new Secret("a key that both sides know");
const now = new Date("2026-01-01T00:00:00Z");
const delivery = { eventId: "event-1", body: '{"type":"AlertRaised"}' };

/** A receiver that answers with these statuses in turn. */
async function receiver(...statuses: number[]) {
  const received: { headers: IncomingHttpHeaders; body: string }[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request.on("end", () => {
      received.push({ headers: request.headers, body });
      const status = statuses.shift() ?? 200;
      response.writeHead(status, status === 302 ? { location: "http://169.254.169.254/" } : {});
      response.end("x".repeat(100_000));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void server.close());
  const { port } = server.address() as AddressInfo;
  const webhook: Webhook = { url: `http://127.0.0.1:${port}/hook`, secret, networks: local };
  return { received, webhook, port };
}

test("a receiver can tell that the body is ours and new, and that it had it before", async () => {
  const { received, webhook } = await receiver();
  await send(webhook, delivery, now);
  await send(webhook, delivery, now);
  const [first, second] = received;
  expect(first?.headers["idempotency-key"]).toBe("event-1");
  expect(second?.headers["idempotency-key"]).toBe("event-1");
  const signature = String(first?.headers["chom-signature"]);
  const body = first?.body ?? "";
  const seconds = now.getTime() / 1_000;
  expect(isSigned(secret, { signature, body }, seconds + 10)).toBe(true);
  expect(isSigned(secret, { signature, body }, seconds + 301)).toBe(false);
  expect(isSigned(secret, { signature, body: `${body} ` }, seconds)).toBe(false);
  expect(isSigned(new Secret("another"), { signature, body }, seconds)).toBe(false);
  expect(isSigned(secret, { signature: "t=1,v1=short", body }, 1)).toBe(false);
  expect(signatureOf(secret, seconds, body)).toBe(signature);
});

test("case 27: an answer that is no success is a failure, and redirects are not followed", async () => {
  const { received, webhook } = await receiver(500, 302, 204);
  const away = { kind: "transient", code: "service-unavailable" };
  await expect(send(webhook, delivery, now)).rejects.toMatchObject(away);
  await expect(send(webhook, delivery, now)).rejects.toMatchObject(away);
  await send(webhook, delivery, now);
  expect(received).toHaveLength(3);
});

test("nobody listening is a failure, not a crash", async () => {
  const webhook = { url: "http://127.0.0.1:1/", secret, networks: local };
  await expect(send(webhook, delivery, now)).rejects.toMatchObject({ kind: "transient" });
});

test("case 25, 27: addresses of our own are refused, as numbers and as names", async () => {
  const { received, port } = await receiver();
  for (const host of ["127.0.0.1", "[::1]", "localhost", "169.254.169.254", "0x7f000001"]) {
    const webhook = { url: `http://${host}:${port}/`, secret, networks: publicOnly };
    await expect(send(webhook, delivery, now)).rejects.toMatchObject({
      kind: "permanent",
      code: "address-not-allowed",
    });
  }
  expect(received).toEqual([]);
});

test("case 26: a name that flips is told once, to the address that was checked", async () => {
  const { received, webhook, port } = await receiver();
  const answers = ["127.0.0.1", "127.0.0.3"];
  const flips = {
    ...webhook,
    url: `http://flips.example:${port}/`,
    networks: networksOf(["127.0.0.1/32"]),
    resolver: async () => [{ address: answers.shift() ?? "", family: 4 }],
  };
  await send(flips, delivery, now);
  expect(answers).toHaveLength(1);
  await expect(send(flips, delivery, now)).rejects.toMatchObject({ code: "address-not-allowed" });
  expect(received).toHaveLength(1);
});
