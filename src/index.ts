/**
 * What a project that uses Inturn imports: the types of a handler, and `createInturn` for who runs it inside of a program.
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
export type { Operated } from "./db/operate.ts";
export type { Transaction } from "./db/transactions-of-others.ts";
export type { Appended } from "./domain/event.ts";
export type { BatchContext, BatchHandler, Handler, HandlerContext, HandlerEvent } from "./engine/handler.ts";
export type { ErrorCode } from "./errors/codes.ts";
export { InturnError } from "./errors/error.ts";
export { BatchError, DoNotRetryError, RetryAtError, TargetAwayError } from "./errors/retry.ts";
export { createLog } from "./log/log.ts";
export { appendIn } from "./service/append-in.ts";
export { createInturn, type Inturn, type OperateOptions } from "./service/inturn.ts";
export type { InturnOptions } from "./service/inturn-options.ts";
export type { Status } from "./service/status.ts";
export type { EventTypes, TargetRules } from "./worker/handler-module.ts";
