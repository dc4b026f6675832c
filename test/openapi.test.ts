/**
 * The description is right: a client made from it can do everything, and no answer is missing from it, whatever comes in.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import axios, { type AxiosResponse } from "axios";
import fc from "fast-check";
import * as openApiClient from "openapi-client-axios";
import { Webhook } from "standardwebhooks";
import { insertSource } from "../src/db/sources.ts";
import { createWebhookSecret } from "../src/engine/access.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { startProcess } from "./support/process.ts";

interface Operation {
  readonly operationId: string;
  readonly parameters?: readonly { name: string; in: "path" | "query" | "header" }[];
  readonly requestBody?: { content: Record<string, unknown> };
  readonly responses: Record<string, { content?: Record<string, unknown> }>;
}

type Description = {
  readonly paths: Record<string, Record<string, Operation>>;
  readonly components: Record<string, unknown>;
};

const SECRET = createWebhookSecret();

/** A real server, its description, and a check of an answer against it. */
function withServer(
  body: (server: { url: string; description: Description; check: Check }, db: TestDatabase) => Promise<void>,
): () => Promise<void> {
  return withDatabase(async (db) => {
    await insertSource(db.database, { name: "shop", secret: SECRET, accountPointer: "/account" });
    const server = startProcess(["serve", "--port", "0"], { DATABASE_URL: db.url, LOG_LEVEL: "error" });
    const { url = "" } = await server.ready;
    const description = (await (await fetch(`${url}/openapi.json`)).json()) as Description;
    await body({ url, description, check: createCheck(description) }, db);
    assert.equal(await server.stop(), 0);
    assert.equal(server.output.stderr, "");
  });
}

type Check = (where: { path: string; method: string }, status: number, type: string, text: string) => void;

/** Throws when the description knows no such answer. */
function createCheck(description: Description): Check {
  const ajv = new Ajv2020({ strict: false });
  addFormats.default(ajv);
  ajv.addSchema(description, "description");
  const validators = new Map<string, ValidateFunction>();
  const escape = (step: string) => step.replaceAll("~", "~0").replaceAll("/", "~1");
  return ({ path, method }, status, type, text) => {
    const answer = description.paths[path]?.[method]?.responses[status];
    assert.ok(answer, `${method} ${path} is not described to answer ${status}: ${text.slice(0, 300)}`);
    assert.ok(answer.content?.[type], `${method} ${path} ${status} is not described to answer ${type}`);
    const steps = ["paths", path, method, "responses", String(status), "content", type, "schema"];
    const pointer = `description#/${steps.map((step) => encodeURIComponent(escape(step))).join("/")}`;
    const validate = validators.get(pointer) ?? ajv.compile({ $ref: pointer });
    validators.set(pointer, validate);
    for (const value of type === "application/x-ndjson" ? text.trimEnd().split("\n") : [text]) {
      assert.ok(
        validate(type === "text/plain" ? value : JSON.parse(value)),
        `${method} ${path} ${status}: ${JSON.stringify(validate.errors)}: ${value.slice(0, 500)}`,
      );
    }
    assert.doesNotMatch(
      text,
      /inturn\.[a-z_]+\(|select |insert |\bat \w+ \(|\/src\/|node_modules/,
      "an answer tells of our insides",
    );
  };
}

test(
  "the description is valid OpenAPI 3.1, and a client made from it can do everything that it describes",
  withServer(async ({ url, description, check }, db) => {
    const { valid, errors } = await new Validator().validate(structuredClone(description));
    assert.ok(valid, JSON.stringify(errors));
    const api = new openApiClient.OpenAPIClientAxios({
      definition: description as never,
      axiosConfigDefaults: { baseURL: url },
    });
    const client = (await api.init()) as unknown as Record<
      string,
      (parameters?: unknown, data?: unknown, config?: object) => Promise<AxiosResponse<string>>
    >;
    const webhook = '{"account":"w","type":"t"}';
    const at = new Date();
    const signed = {
      "webhook-id": "1",
      "webhook-timestamp": String(Math.floor(at.getTime() / 1_000)),
      "webhook-signature": new Webhook(SECRET).sign("1", at, webhook),
    };
    const kill = async () => {
      await db.query(
        "update inturn.events set outcome = 'dead', processed_at = now() where account_id = 'a' and seq = 2",
      );
      await db.query("update inturn.accounts set processed_seq = 2, dead = 1, state = 'scheduled' where id = 'a'");
    };
    const calls: [operationId: string, parameters?: unknown, data?: unknown, config?: object][] = [
      [
        "sendEvents",
        null,
        [1, 2, 3].map((n) => ({ accountId: "a", data: n, type: "t", id: `i${n}`, time: "2026-01-01T00:00:00Z" })),
      ],
      [
        "sendEvents",
        null,
        '{"accountId":"b","data":1}\n{"accountId":"b","data":"x"',
        { headers: { "content-type": "application/x-ndjson" } },
      ],
      ["sendAccountEvents", { id: "a/b" }, { data: 1, expectedSeq: 1 }],
      [
        "receiveWebhook",
        { source: "shop", ...signed },
        webhook,
        { headers: { ...signed, "content-type": "application/json" } },
      ],
      ["listAccounts", { state: "scheduled,idle", search: "a", sort: "pending", limit: 10 }],
      ["getAccount", { id: "a" }],
      ["listEvents", { id: "a", after: 1, limit: 1 }],
      ["findEvents", { id: "i1", type: "t", search: "a", receivedFrom: "2026-01-01T00:00:00Z", limit: 5 }],
      ["getEvent", { id: "a", seq: 1, wait: 0 }],
      ["listAttempts", { id: "a", seq: 1 }],
      ["pause", { id: "a" }, { who: "kim", why: "to see" }],
      ["resume", { id: "a" }, {}],
      ["retry", { id: "a" }, {}],
      ["skip", { id: "a" }, {}],
      ["redrive", { id: "a" }, { seq: 2 }],
      ["replay", { id: "a" }, { seq: 1 }],
      ["beginOperation", null, { verb: "retry", where: { states: ["blocked"], error: "x" }, why: "mended", rate: 10 }],
      ["beginOperation", null, { verb: "pause", where: { prefix: "a" } }],
      ["getOperation", { id: 2 }],
      ["cancelOperation", { id: 2 }, { why: "a mistake" }],
      ["listOperations"],
      ["openTarget", { name: "stripe" }, { why: "maintenance", until: "2126-01-01T00:00:00Z" }],
      ["listTargets"],
      ["closeTarget", { name: "stripe" }, {}],
      ["beginPause", null, { prefix: "nobody", why: "to see", until: "2126-01-01T00:00:00Z" }],
      ["listPauses"],
      ["endPause", { id: 1 }, { rate: 10 }],
      ["getLiveness"],
      ["getReadiness"],
      ["getMetrics"],
      ["getDescription"],
    ];
    const places = new Map(
      Object.entries(description.paths).flatMap(([path, methods]) =>
        Object.entries(methods).map(([method, { operationId }]) => [operationId, { path, method }] as const),
      ),
    );
    for (const [operationId, parameters, data, config] of calls) {
      if (operationId === "redrive") await kill();
      const place = places.get(operationId);
      assert.ok(place, operationId);
      const answer = await client[operationId]?.(parameters, data, {
        ...config,
        responseType: "text",
        transformResponse: String,
      });
      assert.ok(answer !== undefined && answer.status < 300, operationId);
      const type = String(answer.headers["content-type"]).replace(/;.*/, "");
      check(place, answer.status, type, answer.data);
    }
    assert.deepEqual(
      [...places.keys()].filter((id) => !calls.some(([called]) => called === id)),
      [],
    );
    assert.ok(axios.VERSION);
  }),
);

const HOSTILE = [
  "",
  "0",
  "-1",
  "1",
  "a",
  "null",
  "__proto__",
  "%00",
  "%ff",
  "../..",
  "é😀",
  "'; drop table x; --",
  "\u202e",
  "x".repeat(300),
  "9".repeat(20),
  "1e9",
  "[]",
  "{}",
];
const TYPES = [
  "application/json",
  "application/x-ndjson",
  "application/cloudevents+json",
  "application/cloudevents-batch+json",
  "text/plain",
  "application/json; charset=utf-16",
  "x",
];

const eventLike = fc.record(
  {
    accountId: fc.oneof(
      fc.constantFrom("a", "b"),
      fc.constantFrom<unknown>(7, null, "", {}, "x".repeat(300), "\0", "a\nb"),
    ),
    data: fc.jsonValue(),
    id: fc.oneof(fc.constantFrom("1", "2"), fc.constantFrom<unknown>(7, "", "x".repeat(300))),
    type: fc.oneof(fc.constantFrom("t"), fc.jsonValue()),
    time: fc.constantFrom("2026-01-01T00:00:00Z", "infinity", "2026-01-01", 5),
    expectedSeq: fc.constantFrom<unknown>(1, 2, 0, "x"),
    seq: fc.constantFrom<unknown>(1, 99, "x"),
    force: fc.constantFrom<unknown>(true, "yes"),
    who: fc.jsonValue(),
    specversion: fc.constantFrom("1.0", "2"),
    source: fc.constantFrom("/s", "", 1),
    subject: fc.constantFrom("a", ""),
  },
  { requiredKeys: [] },
);

const bodyLike = fc.oneof(
  eventLike.map((value) => JSON.stringify(value)),
  fc.array(eventLike, { maxLength: 4 }).map((value) => JSON.stringify(value)),
  fc.array(eventLike, { maxLength: 4 }).map((values) => values.map((value) => JSON.stringify(value)).join("\n")),
  fc.constantFrom(
    "",
    "{",
    "[1,]",
    "NaN",
    "﻿{}",
    '{"accountId":"a","data":"\\u0000"}',
    '{"accountId":"a","data":"\\ud800"}',
    '{"accountId":"a","data":1e99999}',
    `{"accountId":"a","data":${"[".repeat(500)}${"]".repeat(500)}}`,
  ),
);

test(
  "whatever is sent, the answer is one that is described; no answer is a 500, and the next good request is taken",
  withServer(async ({ url, description, check }) => {
    const operations = Object.entries(description.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
    );
    const request = fc.record({
      target: fc.constantFrom(...operations),
      values: fc.array(fc.constantFrom(...HOSTILE), { minLength: 8, maxLength: 8 }),
      isGiven: fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
      type: fc.oneof(
        { weight: 3, arbitrary: fc.constantFrom(TYPES[0] ?? "") },
        { weight: 2, arbitrary: fc.constantFrom(...TYPES) },
      ),
      body: bodyLike,
      unknown: fc.option(fc.constantFrom(...HOSTILE)),
    });
    await fc.assert(
      fc.asyncProperty(request, async ({ target, values, isGiven, type, body, unknown }) => {
        const { path, method, operation } = target;
        let address = path;
        const query = new URLSearchParams();
        const headers: Record<string, string> = { "content-type": type };
        for (const [i, parameter] of (operation.parameters ?? []).entries()) {
          const value = values[i % values.length] ?? "";
          const isEncoded = value.startsWith("%") ? value : encodeURIComponent(value);
          if (parameter.in === "path")
            address = address.replace(`{${parameter.name}}`, isEncoded === "" ? "a" : isEncoded);
          else if (isGiven[i % isGiven.length] !== true) continue;
          else if (parameter.in === "query" && parameter.name !== "wait") query.set(parameter.name, value);
          else if (parameter.in === "header") headers[parameter.name] = encodeURIComponent(value);
        }
        if (unknown !== null) query.set("unknown", unknown);
        const init = method === "get" ? { method } : { method, headers, body: new Blob([body]) };
        const response = await fetch(`${url}${address}?${query.toString()}`, { ...init, headers });
        const text = await response.text();
        assert.notEqual(response.status, 500, text);
        // What is no path of ours is answered as none.
        if (new URL(response.url).pathname.split("/").length !== path.split("/").length) return;
        check({ path, method }, response.status, (response.headers.get("content-type") ?? "").replace(/;.*/, ""), text);
      }),
      { numRuns: 1_500 },
    );
    const good = await fetch(`${url}/v1/events`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"accountId":"afterwards","data":1}',
    });
    assert.equal(good.status, 202);
  }),
);
