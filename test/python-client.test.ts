/**
 * The client for Python: it does as the TypeScript client does, and as the API's description says.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { withDatabase } from "./support/database.ts";
import { type Answer, REPEATED_AFTER, withFake } from "./support/fake-server.ts";
import { startProcess } from "./support/process.ts";
import { withoutPython } from "./support/python.ts";

const run = promisify(execFile);

/** Runs lines of Python with the client at hand; what they put into `result` comes back. */
async function python(lines: string): Promise<unknown> {
  const script = `import json, sys
sys.path.insert(0, "examples/clients")
sys.dont_write_bytecode = True
from inturn_client import *
def tell(outcome):
    return outcome.code if isinstance(outcome, SendError) else outcome.seq
${lines}
print(json.dumps(result))`;
  const { stdout } = await run("python3", ["-W", "error", "-c", script]);
  return JSON.parse(stdout) as unknown;
}

/** Sends events with these accounts, each with its number as data, and tells for each its seq or its error's code. */
const send = async (url: string, accounts: readonly string[], options = "") =>
  await python(`events = [Event(account, n) for n, account in enumerate(${JSON.stringify(accounts)})]
with Client("${url}"${options}) as client:
    result = [tell(outcome) for outcome in client.send_each(events)]`);

test(
  "a request without a good answer is repeated with the same ids, after as long as the server says",
  { skip: withoutPython },
  withFake(async (server, url) => {
    server.plan = REPEATED_AFTER.slice();
    assert.deepEqual(await send(`${url}/`, ["a", "b", "a"], ', api_key="secret"'), [1, 1, 2]);
    assert.equal(server.requests.length, 6);
    assert.equal(new Set(server.requests.flat().map(({ id }) => id)).size, 3);
    assert.equal(server.headers[0]?.authorization, "Bearer secret");
  }),
);

test(
  "who gives up says whether the event may be stored, and no later event of the account overtakes it",
  { skip: withoutPython },
  withFake(async (server, url) => {
    const alone = ", give_up_seconds=0, batch_events_max=1";
    server.plan = [{ status: 429, headers: { "retry-after": "1" } }];
    assert.deepEqual(await send(url, ["a", "b", "a"], alone), ["unavailable", 1, "predecessor_failed"]);
    server.plan = ["lost"];
    assert.deepEqual(await send(url, ["c"], alone), ["outcome_unknown"]);
  }),
);

test(
  "a refused event is refused alone, and a smaller batch is sent where the server asks for it",
  { skip: withoutPython },
  withFake(async (server, url) => {
    const refusal: Answer = {
      status: 409,
      body: { code: "seq_unexpected", detail: "no", currentSeq: 4, errors: [{ pointer: "/1/expectedSeq" }] },
    };
    server.plan = [refusal];
    assert.deepEqual(await send(url, ["a", "a", "b", "a"]), [1, "seq_unexpected", 1, "predecessor_failed"]);
    server.requests.length = 0;
    server.plan = [{ status: 429, headers: { "retry-after": "0" }, body: { limit: 2 } }];
    assert.deepEqual(await send(url, ["c", "c", "c"]), [1, 2, 3]);
    assert.deepEqual(
      server.requests.map((events) => events.length),
      [3, 2, 1],
    );
    server.plan = [{ status: 401, body: { code: "key_invalid", detail: "no" } }];
    assert.deepEqual(await send(url, ["x", "y"]), ["key_invalid", "key_invalid"]);
  }),
);

interface Schema {
  readonly properties: Record<string, unknown>;
  readonly required: readonly string[];
}

/** The parts of the API's description that a sender of arrays stands on. */
interface Description {
  readonly components: { readonly schemas: Record<string, Schema> };
  readonly paths: {
    readonly "/v1/events": {
      readonly post: {
        readonly requestBody: { readonly content: Record<string, { readonly schema: unknown }> };
        readonly responses: Record<string, { readonly content: Record<string, { readonly schema: unknown }> }>;
      };
    };
  };
}

test(
  "against the real server and its description: fields, answers and statuses are those of /openapi.json",
  { skip: withoutPython },
  withDatabase(async (db) => {
    const server = startProcess(["serve", "--port", "0"], { DATABASE_URL: db.url });
    const { url = "" } = await server.ready;
    const accounts = Array.from({ length: 1_200 }, (_, n) => `ä${n % 7}`);
    assert.deepEqual(
      await send(url, accounts),
      accounts.map((_, n) => Math.floor(n / 7) + 1),
    );
    const outcomes = await python(`client = Client("${url}")
first = client.send(Event("a", {"text": "ü \\u2028", "n": 1.5}, type="t", id="1", time="2026-01-01T00:00:00Z", expected_seq=1))
again = client.send(Event("a", {"n": 1.5, "text": "ü \\u2028"}, type="t", id="1", time="2026-01-01T00:00:00Z"))
others = client.send_each([Event("a", None), Event("", 1), Event("b", 1, expected_seq=9), Event("c", 1)])
try:
    client.send(Event("a", float("nan")))
except ValueError as error:
    refused = str(error)
try:
    client.send_all([Event("d", 1), Event("", 1)])
except SendError as error:
    raised = [error.code, error.status, error.problem["errors"][0]["pointer"]]
result = [first.seq, first.duplicate, again.duplicate, [tell(one) for one in others], refused[:12], raised]`);
    const expected = [2, "event_invalid", "seq_unexpected", 1];
    assert.deepEqual(outcomes, [1, false, true, expected, "Out of range", ["event_invalid", 422, "/1/accountId"]]);

    const description = (await (await fetch(`${url}/openapi.json`)).json()) as Description;
    const { post } = description.paths["/v1/events"];
    const resolve = (schema: unknown): Schema & { items?: unknown; anyOf?: unknown[]; oneOf?: unknown[] } => {
      const { $ref } = schema as { $ref?: string };
      return ($ref === undefined ? schema : description.components.schemas[$ref.split("/").at(-1) ?? ""]) as Schema;
    };
    const choices = (schema: unknown) => (resolve(schema).anyOf ?? resolve(schema).oneOf ?? [schema]).map(resolve);
    const events = choices(post.requestBody.content["application/json"]?.schema).find(
      ({ properties }) => properties !== undefined,
    );
    const answers = choices(post.responses["202"]?.content["application/json"]?.schema);
    const stored = answers.find(({ properties }) => properties?.["seq"] !== undefined);
    const known = (await python(`result = [
      sorted(field.metadata["json"] for field in dataclasses.fields(Event)),
      sorted(field.metadata["json"] for field in dataclasses.fields(Stored)),
      sorted(WORTH_REPEATING)]`)) as [string[], string[], number[]];
    assert.deepEqual(known[0], Object.keys(events?.properties ?? {}).toSorted());
    assert.deepEqual(known[1], Object.keys(stored?.properties ?? {}).toSorted());
    const retried = Object.entries(post.responses).filter(([status]) => known[2].includes(Number(status)));
    assert.deepEqual(
      retried.map(([status]) => status),
      ["429", "500", "503"],
    );
    assert.equal(await server.stop(), 0);
  }),
);
