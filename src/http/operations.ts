import { z } from "@hono/zod-openapi";
import type { Database } from "../db/pool.ts";
import type { Caller } from "../domain/access.ts";
import { VERBS, type Verb } from "../domain/account.ts";
import { BodyBudget } from "../engine/body-budget.ts";
import { carryOutVerb } from "../engine/operate.ts";
import type { ErrorCode } from "../errors/codes.ts";
import { InturnError } from "../errors/error.ts";
import type { Log } from "../log/log.ts";
import { requireReach } from "./access.ts";
import { decodeUtf8, withBody } from "./body.ts";
import { parseJson } from "./json-text.ts";
import { mediaTypeOf, refuseEncoding, unsupportedType } from "./media-type.ts";
import type { ApiContext, Route } from "./route.ts";

/** Characters of a name and of a reason; the database keeps no more. */
const LENGTH_MAX = { who: 200, why: 2_000 };

/** A reason of full length, escaped throughout, with room to spare. */
const REASON_BYTES_MAX = 65_536;

/** What every operation may say: who, and why. */
export const reasonSchema = z.strictObject({
  who: z.string().min(1).max(LENGTH_MAX.who).optional(),
  why: z.string().min(1).max(LENGTH_MAX.why).optional(),
});

/** The codes of the errors that every operation may answer with. */
export const OPERATING_CODES = [
  "operation_invalid",
  "origin_refused",
  "json_malformed",
  "body_too_large",
  "body_incomplete",
  "media_type_unsupported",
  "overloaded",
  "database_unavailable",
  "database_not_migrated",
] as const satisfies readonly ErrorCode[];

const seqSchema = z.int().min(1);

const SCHEMAS = {
  pause: reasonSchema,
  resume: reasonSchema,
  retry: reasonSchema,
  skip: reasonSchema,
  redrive: reasonSchema.extend({ seq: seqSchema, force: z.boolean().default(false) }),
  replay: reasonSchema.extend({ seq: seqSchema }),
} satisfies Record<Verb, z.ZodType>;

const SUMMARIES: Record<Verb, string> = {
  pause: "Let nobody start an event of this account until it is resumed",
  resume: "End a pause",
  retry: "Try the account's first waiting event again now",
  skip: "Leave the account's first waiting event out",
  redrive: "Hand a dead letter out again",
  replay: "Handle every event from a seq on again",
};

const operatedSchema = z.object({
  accountId: z.string(),
  verb: z.enum(VERBS),
  state: z.string(),
  seq: z.int(),
});

/** The operator's verbs, each an operation of its own. */
export function createOperationRoutes(database: Database, log: Log): Route[] {
  return VERBS.map((verb) => ({
    spec: {
      method: "post",
      path: `/v1/accounts/{id}/${verb}`,
      operationId: verb,
      summary: SUMMARIES[verb],
      tags: ["Operations"],
      request: {
        params: z.object({ id: z.string() }),
        body: { content: { "application/json": { schema: SCHEMAS[verb] } } },
      },
      responses: {
        200: { description: "Carried out.", content: { "application/json": { schema: operatedSchema } } },
      },
    },
    codes: [
      ...OPERATING_CODES,
      "bucket_moving",
      "account_not_found",
      "account_running",
      "account_locked",
      "account_idle",
      "event_not_dead",
      "event_overtaken",
      "event_not_settled",
      "replay_too_large",
    ],
    access: "operate",
    handle: (c) => postOperation(c, verb, { database, log }),
  }));
}

/**
 * `POST /v1/accounts/{id}/{verb}`, with `{who?, why?}`, for `redrive` and `replay` also `seq`. Answers 200 with the
 * account's state and the event that it was about; 409 when the account is not as the verb needs it.
 */
async function postOperation(
  c: ApiContext,
  verb: Verb,
  { database, log }: { database: Database; log: Log },
): Promise<Response> {
  refuseOtherSites(c);
  const accountId = c.req.param("id") ?? "";
  requireReach(c, accountId);
  const asked = checkOperation(verb, SCHEMAS[verb], await readOptionalJson(c));
  const who = operatorName(c.get("caller"), asked.who);
  const operated = await carryOutVerb(database, { verb, accountId, ...asked, who });
  log.info({ verb, accountId, seq: operated.seq, who }, "an operator's verb was carried out");
  return c.json({ accountId, verb, ...operated });
}

/** @throws InturnError `operation_invalid`, which names the fields */
export function checkOperation<Schema extends z.ZodType>(
  verb: string,
  schema: Schema,
  body: unknown,
): z.output<Schema> {
  const checked = schema.safeParse(body);
  if (checked.success) return checked.data;
  const faults = checked.error.issues.map((issue) => ({ where: `/${issue.path.join("/")}`, message: issue.message }));
  throw new InturnError("operation_invalid", `This is no ${verb}; nothing was changed.`, { faults });
}

/** Whoever has a key is recorded under its name, whoever else they say they are; what is too long is cut from what they say. */
export function operatorName(caller: Caller, who: string | undefined): string {
  if (who === undefined) return caller.name;
  if (caller.keyId === null) return who;
  const key = ` (${caller.name})`;
  return `${who.slice(0, Math.max(0, LENGTH_MAX.who - key.length))}${key}`;
}

/** A verb that needs no more than its name may come without a body. */
export async function readOptionalJson(c: ApiContext): Promise<unknown> {
  if (c.req.header("content-length") === "0" || c.req.raw.body === null) return {};
  refuseEncoding(c);
  if (mediaTypeOf(c) !== "application/json") throw unsupportedType(c, ["application/json"]);
  const bodyBytesMax = REASON_BYTES_MAX;
  const limits = { bodyBytesMax, memory: new BodyBudget({ bodyBytesMax }).of("") };
  return await withBody(c, limits, async (bytes) => parseJson(decodeUtf8(bytes)));
}

/**
 * A page of another site, open in somebody's browser, must not operate the API that this browser can reach, perhaps with a key
 * that it remembers. To a plain http address browsers send no Sec-Fetch-Site; what they always send with a POST is its Origin.
 */
export function refuseOtherSites(c: ApiContext): void {
  const site = c.req.header("sec-fetch-site");
  const origin = c.req.header("origin");
  if (site === undefined && (origin === undefined || URL.parse(origin)?.host === new URL(c.req.url).host)) return;
  if (site === "same-origin" || site === "none") return;
  throw new InturnError("origin_refused", "This request comes from a page of another site; nothing was changed.");
}
