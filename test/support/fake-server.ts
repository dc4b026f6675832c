/**
 * A server that stores like the real one, and answers clients as it is told.
 */
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { SendEvent } from "../../src/client/index.ts";

/** How it answers a request: `reset` before it has stored the events, `lost` after that. */
export type Answer = { status: number; headers?: Record<string, string>; body?: unknown } | "reset" | "lost";

/** Answers after which a client sends the same request again, at once. */
export const REPEATED_AFTER: readonly Answer[] = [
  { status: 503, headers: { "retry-after": "0" } },
  { status: 429, headers: { "retry-after": new Date(0).toUTCString() } },
  "lost",
  "reset",
  { status: 502, headers: { "retry-after": "0" } },
];

/** Answers by the plan first, and well afterwards. */
export class FakeServer {
  readonly requests: SendEvent[][] = [];
  readonly stored = new Map<string, SendEvent[]>();
  plan: Answer[] = [];
  readonly headers: IncomingMessage["headers"][] = [];
  readonly #server = createServer((request, response) => {
    let text = "";
    request.on("data", (part: Buffer) => (text += part.toString()));
    request.on("end", () => {
      const events = JSON.parse(text) as SendEvent[];
      this.requests.push(events);
      this.headers.push(request.headers);
      const answer = this.plan.shift();
      const isStored = answer === undefined || answer === "lost";
      const stored = isStored ? events.map((event) => this.#store(event)) : [];
      if (answer === "reset" || answer === "lost") return request.socket.destroy();
      const { status, headers = {}, body = {} } = answer ?? { status: 202, body: { events: stored } };
      response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
    });
  });

  #store(event: SendEvent) {
    const events = this.stored.get(event.accountId) ?? [];
    this.stored.set(event.accountId, events);
    const place = events.findIndex((known) => known.id === event.id);
    if (place < 0) events.push(event);
    return { accountId: event.accountId, seq: place < 0 ? events.length : place + 1, duplicate: place >= 0 };
  }

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

/** A test body with such a server. */
export function withFake(body: (server: FakeServer, url: string) => Promise<void>): () => Promise<void> {
  return async () => {
    const server = new FakeServer();
    try {
      await body(server, await server.listen());
    } finally {
      server.close();
    }
  };
}
