/**
 * Traces: one that starts at a sender goes through the door and the queue and ends in the handler; and what is stored of it.
 */
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { context, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import { Webhook } from "standardwebhooks";
import { createClient } from "../src/client/index.ts";
import { readSettings } from "../src/config/settings.ts";
import { insertSource } from "../src/db/sources.ts";
import { createWebhookSecret } from "../src/engine/access.ts";
import { runTurn } from "../src/engine/turn.ts";
import type { TurnOptions } from "../src/engine/turn-options.ts";
import { createLog } from "../src/log/log.ts";
import { startApi } from "../src/service/api.ts";
import { createTestApp } from "./support/app.ts";
import { appendEvents, newEvent } from "./support/append.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { startProcess } from "./support/process.ts";
import { until } from "./support/until.ts";
import { createTestWorker, rule } from "./support/worker.ts";

type App = ReturnType<typeof createTestApp>;

const TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736";
const SENT = `00-${TRACE_ID}-00f067aa0ba902b7-01`;
const OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const JSON_TYPE = { "content-type": "application/json" };

/** An SDK as a deployment would bring it, with its spans at hand. */
function startSdk(): InMemorySpanExporter {
  const exporter = new InMemorySpanExporter();
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  return exporter;
}

afterEach(() => {
  trace.disable();
  context.disable();
});

async function post(app: App, body: unknown, headers: Record<string, string> = {}, path = "/v1/events") {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return await app.request(path, { method: "POST", body: text, headers: { ...JSON_TYPE, ...headers } });
}

async function metadataOf(db: TestDatabase): Promise<unknown[]> {
  const rows = await db.query<{ metadata: unknown }>("select metadata from inturn.events order by account_id, seq");
  return rows.map(({ metadata }) => metadata);
}

const placeOf = (span: ReadableSpan | undefined) => {
  const { traceId = "", spanId = "" } = span?.spanContext() ?? {};
  return `00-${traceId}-${spanId}-01`;
};

/** A span without what differs each time. */
const shown = (span: ReadableSpan) => ({
  name: span.name,
  kind: span.kind,
  trace: span.spanContext().traceId,
  parent: span.parentSpanContext?.spanId,
  status: span.status.code,
  attributes: span.attributes,
});

test(
  "a trace goes from the sender over HTTP and through the queue into the handler; each attempt is a span of its own",
  withDatabase(async (db) => {
    const exporter = startSdk();
    const tracer = trace.getTracer("test");
    const settings = { ...readSettings({}), host: "127.0.0.1", port: 0 };
    const api = await startApi({ settings, databaseUrl: db.url, log: createLog({ level: "silent", name: "test" }) });
    const sender = tracer.startSpan("pay", { kind: SpanKind.CLIENT });
    try {
      const answer = await fetch(`${api.url}/v1/events`, {
        method: "POST",
        headers: { ...JSON_TYPE, traceparent: placeOf(sender as unknown as ReadableSpan), tracestate: "shop=7" },
        body: '{"accountId": "a", "id": "p1", "type": "payment.made", "data": {"card": "4242"}}',
      });
      assert.equal(answer.status, 202);
    } finally {
      await api.close();
    }
    sender.end();

    const { options } = await createTestWorker(db);
    const handler: TurnOptions["handler"] = async (_event, { attempt }) => {
      await Promise.resolve();
      tracer.startSpan("charge").end();
      if (attempt === 1) throw new TypeError("the bank is closed");
    };
    const turn = { ...options, handler, ruleOf: () => rule };
    await runTurn(turn, "a");
    await db.query("update inturn.accounts set next_attempt_at = clock_timestamp()");
    await runTurn(turn, "a");

    const [door, client, inFirst, first, inSecond, second] = exporter.getFinishedSpans();
    assert.ok(door && client && inFirst && first && inSecond && second);
    assert.equal(exporter.getFinishedSpans().length, 6);
    const traceId = client.spanContext().traceId;
    assert.deepEqual(shown(door), {
      name: "POST /v1/events",
      kind: SpanKind.SERVER,
      trace: traceId,
      parent: client.spanContext().spanId,
      status: SpanStatusCode.UNSET,
      attributes: {
        "http.request.method": "POST",
        "http.route": "/v1/events",
        "http.response.status_code": 202,
        "url.path": "/v1/events",
        "url.scheme": "http",
      },
    });
    const attributes = {
      "messaging.system": "inturn",
      "messaging.operation.type": "process",
      "messaging.operation.name": "process",
      "messaging.destination.name": "payment.made",
      "messaging.message.id": "p1",
      "messaging.message.conversation_id": "a",
      "inturn.seq": 1,
    };
    const process = { name: "process payment.made", kind: SpanKind.CONSUMER, trace: traceId };
    const parent = door.spanContext().spanId;
    assert.deepEqual(shown(first), {
      ...process,
      parent,
      status: SpanStatusCode.ERROR,
      attributes: {
        ...attributes,
        "inturn.attempt": 1,
        "inturn.epoch": 1,
        "inturn.ending": "failed",
        "error.type": "TypeError",
      },
    });
    assert.deepEqual(
      first.events.map(({ name, attributes: said }) => [name, said?.["exception.type"], said?.["exception.message"]]),
      [["exception", "TypeError", "the bank is closed"]],
    );
    assert.deepEqual(shown(second), {
      ...process,
      parent,
      status: SpanStatusCode.UNSET,
      attributes: { ...attributes, "inturn.attempt": 2, "inturn.epoch": 2, "inturn.ending": "done" },
    });
    for (const [inner, outer] of [
      [inFirst, first],
      [inSecond, second],
    ] as const) {
      assert.deepEqual([inner.name, inner.parentSpanContext?.spanId], ["charge", outer.spanContext().spanId]);
      assert.equal(inner.spanContext().traceId, traceId);
      assert.equal(outer.spanContext().traceState?.serialize(), "shop=7");
    }
    assert.deepEqual(await metadataOf(db), [{ traceparent: placeOf(door), tracestate: "shop=7" }]);
    assert.ok(!JSON.stringify(exporter.getFinishedSpans().map(shown)).includes("4242"));
  }),
);

test(
  "without an SDK the sender's place is stored as it came, and nothing without one; the handler can read it",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    const event = { accountId: "a", data: 1 };
    const headers = [
      { traceparent: SENT, tracestate: "a=1,b=2" },
      { traceparent: SENT, tracestate: `a=${"x".repeat(511)}` },
      { traceparent: SENT, tracestate: "none" },
      { traceparent: SENT },
      { tracestate: "a=1" },
      { traceparent: SENT.toUpperCase() },
      { traceparent: SENT.replace("00-", "ff-") },
      { traceparent: `${SENT}-more` },
      { traceparent: `00-${"0".repeat(32)}-00f067aa0ba902b7-01` },
      { traceparent: `00-${TRACE_ID}-${"0".repeat(16)}-01` },
      { traceparent: `${SENT}, ${SENT}` },
      { traceparent: `01${SENT.slice(2)}-later` },
      {},
    ];
    for (const header of headers) assert.equal((await post(app, event, header)).status, 202);
    const expected = [
      { traceparent: SENT, tracestate: "a=1,b=2" },
      { traceparent: SENT },
      { traceparent: SENT },
      { traceparent: SENT },
      ...Array.from({ length: 7 }, () => null),
      { traceparent: `01${SENT.slice(2)}-later` },
      null,
    ];
    assert.deepEqual(await metadataOf(db), expected);
    const seen: unknown[] = [];
    const { options } = await createTestWorker(db);
    await runTurn({ ...options, handler: (stored) => void seen.push(stored.metadata) }, "a");
    assert.deepEqual(seen, expected);
  }),
);

test(
  "an event's own place wins over the request's, in arrays, lines and the client; the request's span is linked with it",
  withDatabase(async (db) => {
    const exporter = startSdk();
    const app = createTestApp(db.database);
    const own = { accountId: "a", data: 1, traceparent: OTHER, tracestate: "z=1" };
    assert.equal((await post(app, [own, { accountId: "b", data: 2 }, own], { traceparent: SENT })).status, 202);
    const lines = [own, { accountId: "b", data: 3 }].map((event) => JSON.stringify(event)).join("\n");
    const answer = await post(app, lines, { "content-type": "application/x-ndjson" }, "/v1/events");
    assert.equal(exporter.getFinishedSpans().length, 1, "the span of a stream ends with its answer");
    await answer.text();
    const client = createClient({
      url: "http://x",
      fetch: async (url, init) => await app.request(url, init),
    });
    await client.send({ ...own, accountId: "c" });
    const spans = exporter.getFinishedSpans();
    assert.deepEqual(
      spans.map((span) => [span.parentSpanContext?.spanId, span.links.map((link) => link.context.spanId)]),
      [
        ["00f067aa0ba902b7", ["b7ad6b7169203331"]],
        [undefined, ["b7ad6b7169203331"]],
        [undefined, ["b7ad6b7169203331"]],
      ],
    );
    const kept = { traceparent: OTHER, tracestate: "z=1" };
    const [array, stream] = spans;
    assert.deepEqual(await metadataOf(db), [
      kept,
      kept,
      kept,
      { traceparent: placeOf(array) },
      { traceparent: placeOf(stream) },
      kept,
    ]);
  }),
);

test(
  "an event's own place that is none is refused with its field",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    const pointers = async (fields: object, isArray = false) => {
      const event = { accountId: "a", data: 1, ...fields };
      const answer = await post(app, isArray ? [{ accountId: "a", data: 0 }, event] : event, { traceparent: SENT });
      const { code, errors } = (await answer.json()) as { code: string; errors: { pointer: string }[] };
      return [answer.status, code, ...errors.map(({ pointer }) => pointer)];
    };
    for (const traceparent of ["", "00", SENT.toUpperCase(), `${SENT}-more`, `${SENT}\n`, 7, null]) {
      assert.deepEqual(await pointers({ traceparent }), [422, "event_invalid", "/traceparent"]);
    }
    for (const tracestate of ["none", "a=é", `a=${"x".repeat(511)}`, "A=1", "a=1,".repeat(33), 7]) {
      assert.deepEqual((await pointers({ traceparent: SENT, tracestate }, true)).slice(0, 3), [
        422,
        "event_invalid",
        "/1/tracestate",
      ]);
    }
    assert.deepEqual(await pointers({ tracestate: "a=1" }), [422, "event_invalid", "/tracestate"]);
    assert.deepEqual(await metadataOf(db), []);
  }),
);

test(
  "a CloudEvent's extension wins over the header, unless it is none; a webhook has its header's",
  withDatabase(async (db) => {
    const secret = createWebhookSecret();
    await insertSource(db.database, { name: "shop", secret, accountPointer: "/account" });
    const app = createTestApp(db.database);
    const event = { specversion: "1.0", source: "/s", type: "t", subject: "a" };
    const [one, batch] = ["application/cloudevents+json", "application/cloudevents-batch+json"];
    const headers = { traceparent: SENT };
    const send = async (body: unknown, type: Record<string, string>) =>
      assert.equal((await post(app, body, { ...headers, ...type })).status, 202);
    await send({ ...event, id: "1", traceparent: OTHER, tracestate: "z=1" }, { "content-type": one });
    await send([{ ...event, id: "2", traceparent: "none", tracestate: "z=1" }], { "content-type": batch });
    await send("1", {
      "ce-specversion": "1.0",
      "ce-id": "3",
      "ce-source": "/s",
      "ce-type": "t",
      "ce-subject": "a",
      "ce-traceparent": OTHER,
    });
    const untraced = await post(app, { ...event, id: "4", traceparent: "none" }, { "content-type": one });
    assert.equal(untraced.status, 202);
    const at = new Date();
    const body = '{"account":"b"}';
    const signature = {
      "webhook-id": "1",
      "webhook-timestamp": String(Math.floor(at.getTime() / 1_000)),
      "webhook-signature": new Webhook(secret).sign("1", at, body),
    };
    assert.equal((await post(app, body, { ...headers, ...signature }, "/v1/sources/shop")).status, 202);
    const kept = { specversion: "1.0", source: "/s", subject: "a" };
    assert.deepEqual(await metadataOf(db), [
      { ...kept, id: "1", traceparent: OTHER, tracestate: "z=1" },
      { ...kept, id: "2", traceparent: SENT },
      { ...kept, id: "3", traceparent: OTHER, datacontenttype: "application/json" },
      { ...kept, id: "4", traceparent: "none" },
      { source: "shop", traceparent: SENT },
    ]);
  }),
);

test(
  "an event that is sent again in another trace is a duplicate, and keeps its first place",
  withDatabase(async (db) => {
    const app = createTestApp(db.database);
    const event = { accountId: "a", id: "1", data: { n: 1 } };
    const again = async (body: object, headers: Record<string, string>) =>
      await (await post(app, body, headers)).json();
    assert.deepEqual(await again(event, { traceparent: SENT }), { accountId: "a", seq: 1, duplicate: false });
    const duplicate = { accountId: "a", seq: 1, duplicate: true };
    assert.deepEqual(await again(event, { traceparent: OTHER, tracestate: "z=1" }), duplicate);
    assert.deepEqual(await again({ ...event, traceparent: OTHER }, {}), duplicate);
    assert.deepEqual(await again(event, {}), duplicate);
    startSdk();
    assert.deepEqual(await again(event, {}), duplicate);
    const both = [
      { accountId: "b", id: "1", data: 1, traceparent: SENT },
      { accountId: "b", id: "1", data: 1, traceparent: OTHER },
    ];
    assert.equal((await post(app, both)).status, 202);
    assert.deepEqual(await metadataOf(db), [{ traceparent: SENT }, { traceparent: SENT }]);
  }),
);

test(
  "a refused request is no error of the server's; a database that is away is",
  withDatabase(async (db) => {
    const exporter = startSdk();
    const app = createTestApp(db.database);
    await post(app, "{");
    await post(app, "not json", { "content-type": "application/x-ndjson" });
    await post(app, { data: 1 }, {}, "/v1/accounts/a1/events");
    await post(app, { accountId: "a", data: 1 }, { "x-forwarded-for": "1.2.3.4" });
    await post(app, "{}", {}, "/v1/sources/none");
    await app.request("/v1/accounts");
    const broken = createTestApp(db.database, {
      appender: { append: () => Promise.reject(Object.assign(new Error("away"), { code: "57P01" })) },
    });
    await post(broken, { accountId: "a", data: 1 });
    assert.deepEqual(
      exporter
        .getFinishedSpans()
        .map(({ name, status, attributes }) => [
          name,
          attributes["url.path"],
          attributes["http.response.status_code"],
          status.code,
          attributes["error.type"],
        ]),
      [
        ["POST /v1/events", "/v1/events", 400, SpanStatusCode.UNSET, undefined],
        ["POST /v1/events", "/v1/events", 400, SpanStatusCode.UNSET, undefined],
        ["POST /v1/accounts/{id}/events", "/v1/accounts/a1/events", 202, SpanStatusCode.UNSET, undefined],
        ["POST /v1/events", "/v1/events", 421, SpanStatusCode.UNSET, undefined],
        ["POST /v1/sources/{source}", "/v1/sources/none", 401, SpanStatusCode.UNSET, undefined],
        ["POST /v1/events", "/v1/events", 503, SpanStatusCode.ERROR, "503"],
      ],
    );
  }),
);

test(
  "where the SDK has a span around the request already, ours is within it, and no second SERVER span",
  withDatabase(async (db) => {
    const exporter = startSdk();
    const app = createTestApp(db.database);
    const around = trace.getTracer("http").startSpan("POST", { kind: SpanKind.SERVER });
    await context.with(trace.setSpan(context.active(), around), async () => {
      await post(app, { accountId: "a", data: 1 }, { traceparent: SENT });
    });
    const [span] = exporter.getFinishedSpans();
    assert.deepEqual([span?.kind, span?.parentSpanContext?.spanId], [SpanKind.INTERNAL, around.spanContext().spanId]);
    assert.deepEqual(await metadataOf(db), [{ traceparent: placeOf(span) }]);
  }),
);

test(
  "the span of a call ends in every way in which a call ends",
  withDatabase(async (db) => {
    const exporter = startSdk();
    const { options } = await createTestWorker(db);
    const run = async (accountId: string, turn: Partial<TurnOptions>) => {
      await appendEvents(db.database, [newEvent({ accountId })]);
      await runTurn({ ...options, ...turn }, accountId);
    };
    const never = () => new Promise<void>(() => undefined);
    const hasty = () => ({ ...rule, handlerTimeoutMs: 20 });
    await run("done", { handler: () => undefined });
    await run("settled", { handler: (_, { transaction }) => transaction(async () => undefined) });
    await run("settled, then failed", {
      handler: async (_, { transaction }) => {
        await transaction(async () => undefined);
        throw new Error("too late to matter");
      },
    });
    await run("failed with nothing", { handler: () => Promise.reject() });
    await run("timed out, and heeds it", {
      ruleOf: hasty,
      handler: (_event, { signal }) =>
        new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason))),
    });
    await run("timed out, for ever", { ruleOf: hasty, handler: never });
    const abandoned = new AbortController();
    const late = Promise.withResolvers<void>();
    let isRunning = false;
    const handler = () => {
      isRunning = true;
      return late.promise;
    };
    const running = run("abandoned", { handler, abandoned: abandoned.signal });
    await until("the handler runs", () => isRunning);
    abandoned.abort();
    await running;
    // Its end comes when nobody waits for it any more.
    late.reject(new Error("too late"));
    const interrupted = new AbortController();
    await run("interrupted", {
      interrupted: interrupted.signal,
      handler: async (_, { signal }) => {
        await Promise.resolve();
        interrupted.abort(new Error("the worker stops"));
        throw signal.reason;
      },
    });
    assert.deepEqual(
      exporter
        .getFinishedSpans()
        .map(({ name, attributes, status }) => [
          name,
          attributes["messaging.message.conversation_id"],
          attributes["inturn.ending"],
          attributes["error.type"],
          status.message,
        ]),
      [
        ["process event", "done", "done", undefined, undefined],
        ["process event", "settled", "settled", undefined, undefined],
        ["process event", "settled, then failed", "settled", undefined, undefined],
        ["process event", "failed with nothing", "failed", "_OTHER", "undefined"],
        [
          "process event",
          "timed out, and heeds it",
          "failed",
          "handler_timed_out",
          "InturnError: the handler took longer than 20 ms [handler_timed_out]",
        ],
        [
          "process event",
          "timed out, for ever",
          "failed",
          "handler_timed_out",
          "InturnError: the handler took longer than 20 ms [handler_timed_out]",
        ],
        ["process event", "abandoned", "abandoned", undefined, undefined],
        ["process event", "interrupted", "abandoned", undefined, undefined],
      ],
    );
    assert.deepEqual(new Set(exporter.getFinishedSpans().map((span) => span.parentSpanContext)), new Set([undefined]));
  }),
);

test(
  "the span of several events together has a link to the context of each, and says how many they are",
  withDatabase(async (db) => {
    const exporter = startSdk();
    const { options } = await createTestWorker(db);
    const traceIds = ["1", "2"].map((digit) => digit.repeat(32));
    const inTrace = (traceId: string) => JSON.stringify({ traceparent: `00-${traceId}-00f067aa0ba902b7-01` });
    await appendEvents(db.database, [
      ...traceIds.map((traceId) => newEvent({ accountId: "a", metadata: inTrace(traceId) })),
      newEvent({ accountId: "a" }),
    ]);
    await runTurn({ ...options, batch: { handler: () => undefined, eventsMax: 10, bytesMax: 10_000 } }, "a");
    const [span, ...others] = exporter.getFinishedSpans();
    assert.deepEqual(others, []);
    assert.deepEqual(
      span?.links.map(({ context: { traceId } }) => traceId),
      traceIds,
    );
    assert.equal(span?.parentSpanContext, undefined);
    assert.equal(span?.attributes["messaging.batch.message_count"], 3);
    assert.equal(span?.attributes["inturn.seq"], 1);
  }),
);

test(
  "commands that an SDK is imported into hand over their spans when they are told to stop, the last one too",
  withDatabase(async (db) => {
    const telemetry = new URL("support/telemetry.ts", import.meta.url).href;
    const environment = { DATABASE_URL: db.url, NODE_OPTIONS: `--import ${telemetry}` };
    const server = startProcess(["serve", "--port", "0"], environment);
    const worker = startProcess(["work", "--handler", "sleep", "--handler-ms", "0"], environment);
    const [{ url }] = await Promise.all([server.ready, worker.ready]);
    const body = '{"accountId": "a", "data": 1}';
    const init = { method: "POST", headers: { ...JSON_TYPE, traceparent: SENT }, body };
    assert.equal((await fetch(`${url}/v1/events`, init)).status, 202);
    await until("the event is handled", async () => {
      const [account] = await db.query("select from inturn.accounts where processed_seq = 1");
      return account !== undefined;
    });
    assert.deepEqual([await server.stop(), await worker.stop()], [0, 0]);
    const spansOf = ({ output }: typeof server) =>
      output.stdout
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as Record<string, string>);
    const spans = [...spansOf(server), ...spansOf(worker)];
    const [door = "", handled = ""] = spans.map((span) => span["spanId"]);
    assert.deepEqual(spans, [
      { name: "POST /v1/events", traceId: TRACE_ID, spanId: door, parent: "00f067aa0ba902b7" },
      { name: "process event", traceId: TRACE_ID, spanId: handled, parent: door },
    ]);
  }),
);
