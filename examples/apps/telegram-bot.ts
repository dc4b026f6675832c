/**
 * A bot that counts in each chat. Telegram sends updates to a webhook, again if it gets no answer; they are stored once, by their
 * `update_id`, and each chat's are handled in their order, however slow Telegram's API is.
 *
 *   npm install inturn
 *   DATABASE_URL=postgres://… TELEGRAM_TOKEN=… TELEGRAM_SECRET=… node telegram-bot.ts
 *   curl "https://api.telegram.org/bot$TELEGRAM_TOKEN/setWebhook" -d url=https://…/telegram -d "secret_token=$TELEGRAM_SECRET"
 */

import { timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { createInturn, type HandlerEvent, RetryAtError } from "inturn";

const { TELEGRAM_API = "https://api.telegram.org", TELEGRAM_TOKEN = "", TELEGRAM_SECRET = "" } = process.env;

interface Update {
  readonly update_id: number;
  readonly message?: { readonly chat: { readonly id: number }; readonly text?: string };
}

async function reply(event: HandlerEvent, context: { signal: AbortSignal }): Promise<void> {
  const { message } = event.data as Update;
  const answer = await fetch(`${TELEGRAM_API}/bot${TELEGRAM_TOKEN}/sendMessage`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ chat_id: message?.chat.id, text: `${event.seq}: ${message?.text ?? ""}` }),
    signal: context.signal,
  });
  if (answer.status === 429) {
    // Telegram says when it takes more from this chat; that is no failed attempt.
    const { parameters } = (await answer.json()) as { parameters?: { retry_after?: number } };
    const at = new Date(Date.now() + 1_000 * (parameters?.retry_after ?? 1));
    throw new RetryAtError("Telegram asks to wait", at, { countsAttempt: false });
  }
  if (!answer.ok) throw new Error(`Telegram answered ${answer.status}`);
}

const inturn = createInturn({
  databaseUrl: process.env["DATABASE_URL"] ?? "postgres://127.0.0.1/bot",
  handler: reply,
  eventTypes: { message: { attemptsMax: 5, failurePolicy: "dead-letter" } },
});
await inturn.migrate();
await inturn.startWorker();

function isFromTelegram(request: IncomingMessage): boolean {
  const [given, secret] = [String(request.headers["x-telegram-bot-api-secret-token"]), TELEGRAM_SECRET].map((word) =>
    Buffer.from(word),
  );
  return (
    given?.length === secret?.length && given !== undefined && secret !== undefined && timingSafeEqual(given, secret)
  );
}

/** The status for an update: 200 when it is stored, and Telegram forgets it. */
async function take(request: IncomingMessage): Promise<number> {
  if (request.url !== "/telegram") return 404;
  if (!isFromTelegram(request)) return 401;
  const update = JSON.parse(await text(request)) as Update;
  if (update.message === undefined) return 200;
  await inturn.append([
    { accountId: `chat:${update.message.chat.id}`, type: "message", id: String(update.update_id), data: update },
  ]);
  return 200;
}

const server = createServer((request, response) => {
  void take(request)
    .catch((error: unknown) => {
      console.error(error);
      return 500;
    })
    .then((status) => response.writeHead(status).end());
});
server.listen(Number(process.env["PORT"] ?? 3000), "127.0.0.1");
await once(server, "listening");
console.log(`listening on port ${(server.address() as AddressInfo).port}`);

await once(process, "SIGTERM");
server.close();
await inturn.stop();
