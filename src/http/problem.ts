/**
 * Errors over HTTP: RFC 9457 problem documents with a stable `code`.
 */
import { type RouteConfig, z } from "@hono/zod-openapi";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { ERRORS, type ErrorCode } from "../errors/codes.ts";
import { isBadData, isForbidden, isLocked, isNotMigrated, isUnavailable } from "../errors/database.ts";
import { InturnError } from "../errors/error.ts";
import type { ApiContext } from "./route.ts";

const TITLE: Partial<Record<ContentfulStatusCode, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  421: "Misdirected Request",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
};

/** How to come with a key. Browsers are not told of passwords: they would send them along to every form. */
const CHALLENGE = 'Bearer realm="inturn"';

/** How long a client that met a 429 or 503 should wait, unless the error knows better. */
const RETRY_AFTER_SECONDS = 1;

/** What a thrown value means to a client: an error of ours as it is, the database's by its code, anything else as `internal`. */
export function toInturnError(error: unknown): InturnError {
  if (error instanceof InturnError) return error;
  if (isLocked(error)) {
    return new InturnError(
      "account_locked",
      "Another transaction holds an account of this request for too long; nothing was changed. Send the same request again.",
      { cause: error },
    );
  }
  if (isNotMigrated(error)) {
    return new InturnError("database_not_migrated", "The database lacks tables of this version; it must be migrated.", {
      cause: error,
    });
  }
  if (isUnavailable(error)) {
    return new InturnError(
      "database_unavailable",
      "The database cannot be reached right now; nothing was stored for certain. Send the same request again.",
      { cause: error },
    );
  }
  if (isForbidden(error)) {
    return new InturnError(
      "role_not_permitted",
      "The database role of this server may not do this; nothing was changed. Whoever runs it has to give it another role.",
      { cause: error },
    );
  }
  if (isBadData(error)) {
    return new InturnError("event_invalid", "PostgreSQL cannot hold one of these values; nothing was stored.", {
      cause: error,
    });
  }
  return new InturnError(
    "internal",
    "Something went wrong on our side; the log has the details under this request's id.",
    { cause: error },
  );
}

/** The status that tells of a code. */
export function statusOf(code: ErrorCode): ContentfulStatusCode {
  return ERRORS[code].status ?? 500;
}

/** A problem document, as the API's description shows it. */
export const problemSchema = z
  .looseObject({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.enum(Object.keys(ERRORS) as ErrorCode[]),
    detail: z.string(),
    requestId: z.string(),
    errors: z.array(z.object({ pointer: z.string(), detail: z.string() })).optional(),
  })
  .openapi("Problem");

/** The responses of the API's description for these codes. */
export function problemResponses(codes: ReadonlySet<ErrorCode>): RouteConfig["responses"] {
  const responses: RouteConfig["responses"] = {};
  for (const status of new Set([...codes].map(statusOf))) {
    const named = [...codes].filter((code) => statusOf(code) === status);
    responses[status] = {
      description: `${TITLE[status]}: ${named.map((code) => `\`${code}\``).join(", ")}`,
      content: { "application/problem+json": { schema: problemSchema } },
    };
  }
  return responses;
}

/** Answers with the problem document of an error. */
export function respondWithProblem(c: ApiContext, error: InturnError, requestId: string): Response {
  const status = statusOf(error.code);
  if (status === 429 || status === 503) {
    c.header("Retry-After", String(Number(error.data["retryAfterSeconds"] ?? RETRY_AFTER_SECONDS)));
  }
  if (error.code === "key_missing" || error.code === "key_invalid") c.header("WWW-Authenticate", CHALLENGE);
  c.header("Content-Type", "application/problem+json");
  return c.body(JSON.stringify(toProblem(error, requestId)), status);
}

/** The problem document of an error. */
export function toProblem(error: InturnError, requestId: string): z.output<typeof problemSchema> {
  const status = statusOf(error.code);
  const errors = error.faults.map((fault) => ({ pointer: fault.where, detail: fault.message }));
  return {
    ...error.data,
    type: "about:blank",
    title: TITLE[status] ?? "",
    status,
    code: error.code,
    detail: error.message,
    requestId,
    ...(errors.length > 0 && { errors }),
  };
}
