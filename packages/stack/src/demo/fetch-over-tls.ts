/** Fetches a page the way a visitor's browser would: the name checked, the chain checked. */
import { get } from "node:https";
import type { TLSSocket } from "node:tls";

export type Page = { status: number; body: string; issuer: string; serial: string };

/** Fetches `/` of a domain from a server's address; fails unless the certificate is the domain's and chains to `root`. */
export function fetchOverTls(target: {
  address: string;
  domain: string;
  root: string;
}): Promise<Page> {
  return new Promise((resolve, reject) => {
    const request = get(
      {
        host: target.address,
        servername: target.domain,
        headers: { host: target.domain },
        ca: target.root,
        timeout: 10_000,
        agent: false,
      },
      (response) => {
        const certificate = (response.socket as TLSSocket).getPeerCertificate();
        let body = "";
        response.setEncoding("utf8").on("data", (text: string) => {
          body += text;
        });
        response.on("end", () =>
          resolve({
            status: response.statusCode ?? 0,
            body,
            issuer: String(certificate.issuer?.CN ?? ""),
            serial: certificate.serialNumber,
          }),
        );
      },
    );
    request.on("timeout", () => request.destroy(new Error("no answer within 10 s")));
    request.on("error", reject);
  });
}
