import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer, type TLSSocket } from "node:tls";
import { expect, onTestFinished, test } from "vitest";
import { type Ca, createCa, type IssuedCertificate, issueCertificate } from "./certificates.ts";

async function server(
  ca: Ca,
  own: IssuedCertificate,
): Promise<{ port: number; client: Promise<string> }> {
  const listening = createServer({
    cert: own.certPem,
    key: own.keyPem,
    ca: ca.certPem,
    requestCert: true,
    rejectUnauthorized: true,
  });
  listening.on("tlsClientError", () => {}).listen(0, "127.0.0.1");
  onTestFinished(() => void listening.close());
  await once(listening, "listening");
  const client = once(listening, "secureConnection").then((args) => {
    const socket = args[0] as TLSSocket;
    const name = socket.getPeerCertificate().subjectaltname ?? "";
    socket.destroy();
    return name;
  });
  return { port: (listening.address() as AddressInfo).port, client };
}

function dial(
  port: number,
  ca: string,
  own: IssuedCertificate,
  servername: string,
): Promise<boolean> {
  return new Promise((done, refuse) => {
    const options = { host: "127.0.0.1", port, ca, cert: own.certPem, key: own.keyPem, servername };
    const socket = connect(options, () => done(socket.authorized));
    socket.on("error", refuse);
    onTestFinished(() => void socket.destroy());
  });
}

const leaf = (ca: Ca, name: string, days = 30) =>
  issueCertificate(ca, {
    commonName: name,
    dnsNames: [name, "localhost"],
    ipAddresses: ["127.0.0.1"],
    uris: [`spiffe://chom/${name}`],
    days,
  });

test("two services meet over mutual TLS and read each other's identity", async () => {
  const ca = await createCa("test");
  const { port, client } = await server(ca, await leaf(ca, "backup"));
  expect(await dial(port, ca.certPem, await leaf(ca, "ssl"), "backup")).toBe(true);
  expect(await client).toContain("URI:spiffe://chom/ssl");
});

test("another name, another authority and an expired certificate are refused", async () => {
  const [ca, stranger] = await Promise.all([createCa("test"), createCa("test")]);
  const [own, { port }] = [await leaf(ca, "ssl"), await server(ca, await leaf(ca, "backup"))];
  await expect(dial(port, ca.certPem, own, "other")).rejects.toThrow(/altnames/);
  await expect(dial(port, stranger.certPem, own, "backup")).rejects.toThrow(/certificate/);
  const old = await server(ca, await leaf(ca, "backup", -1));
  await expect(dial(old.port, ca.certPem, own, "backup")).rejects.toThrow(/expired/);
});
