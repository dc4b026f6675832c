/**
 * What a project that uses Inturn imports: the types of a handler, and the parts for who wants to run them in a process of
 * their own.
 *
 * @example
 * ```ts
 * import type { Handler } from "inturn";
 *
 * const handler: Handler = async (event, { signal, idempotencyKey }) => {
 *   await fetch("https://example.com/charge", {
 *     method: "POST",
 *     headers: { "idempotency-key": idempotencyKey },
 *     body: JSON.stringify(event.data),
 *     signal,
 *   });
 * };
 * export default handler;
 * ```
 */
export * from "./client/index.ts";
export { readSettings, type Settings } from "./config/settings.ts";
export { migrateDatabase } from "./db/migrate.ts";
export type { Transaction } from "./db/transactions-of-others.ts";
export type { Handler, HandlerContext, HandlerEvent } from "./engine/handler.ts";
export type { ErrorCode } from "./errors/codes.ts";
export { InturnError } from "./errors/error.ts";
export { DoNotRetryError, RetryAtError, TargetAwayError } from "./errors/retry.ts";
export { createLog } from "./log/log.ts";
export { startApi } from "./service/api.ts";
export { appendIn } from "./service/append-in.ts";
export type { Listening } from "./service/listening.ts";
export { type RunningWorker, startWorker } from "./service/work.ts";
export type { EventTypes, TargetRules } from "./worker/handler-module.ts";
