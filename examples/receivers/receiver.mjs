// A receiver of pushed events, with Node's standard library alone: it verifies each signature, and prints what it got.
//
//   PUSH_SECRETS=whsec_… PORT=9000 node receiver.mjs
//
// Answer 2xx when the event is done with: then the account's next one comes. Answer 503 or 429 while your own systems are away, 410 for
// an event that will never be wanted, and anything else when it failed: it comes again, with the same webhook-id.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const secrets = (process.env.PUSH_SECRETS ?? "")
  .split(",")
  .map((secret) => Buffer.from(secret.replace(/^whsec_/, ""), "base64"));
const TOLERANCE_SECONDS = 300;

/** Whether one of the signatures fits one of the secrets, and the request is fresh. */
function isGenuine(headers, body) {
  const { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures = "" } = headers;
  if (Math.abs(Date.now() / 1_000 - Number(timestamp)) <= TOLERANCE_SECONDS) {
    for (const secret of secrets) {
      const expected = createHmac("sha256", secret).update(`${id}.${timestamp}.`).update(body).digest();
      for (const signature of signatures.split(" ")) {
        const given = Buffer.from(signature.replace(/^v1,/, ""), "base64");
        if (given.length === expected.length && timingSafeEqual(given, expected)) return true;
      }
    }
  }
  return false;
}

const server = createServer(async (request, response) => {
  const body = Buffer.concat(await Array.fromAsync(request));
  if (!isGenuine(request.headers, body)) return response.writeHead(401).end("the signature does not fit");
  const { "inturn-account": account, "inturn-seq": seq, "inturn-attempt": attempt, "ce-type": type } = request.headers;
  console.log(decodeURIComponent(account), seq, attempt, type, body.toString());
  response.writeHead(204).end();
});
server.listen(Number(process.env.PORT ?? 9_000), "127.0.0.1", () => console.log("listening", server.address().port));
