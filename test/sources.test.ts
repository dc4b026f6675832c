/**
 * Webhooks of the providers that people use: taken when they are signed by the provider's rule, refused when anything is wrong, and
 * stored under the account, the id and the type that the provider's bodies have.
 */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { sign as signAsGitHub } from "@octokit/webhooks-methods";
import { Stripe } from "stripe";
import { insertSource, type NewSource } from "../src/db/sources.ts";
import { SIGNATURES } from "../src/http/signatures.ts";
import { createTestApp } from "./support/app.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { runProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

const SECRET = "a secret of sixteen or more";

const now = () => Math.floor(Date.now() / 1_000);

const hmac = (text: string, encoding: "hex" | "base64", secret = SECRET) =>
  createHmac("sha256", secret).update(text).digest(encoding);

type Sign = (body: string, secret?: string) => Record<string, string> | Promise<Record<string, string>>;

const stripe: Sign = (payload, secret = SECRET) => ({
  "stripe-signature": Stripe.webhooks.generateTestHeaderString({ payload, secret }),
});
const github: Sign = async (body, secret = SECRET) => ({
  "x-hub-signature-256": await signAsGitHub(secret, body),
  "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
  "x-github-event": "issues",
});
const slack: Sign = (body, secret = SECRET) => {
  const seconds = String(now());
  return {
    "x-slack-request-timestamp": seconds,
    "x-slack-signature": `v0=${hmac(`v0:${seconds}:${body}`, "hex", secret)}`,
  };
};
const shopify: Sign = (body, secret = SECRET) => ({
  "x-shopify-hmac-sha256": hmac(body, "base64", secret),
  "x-shopify-topic": "orders/create",
  "x-shopify-shop-domain": "shop.myshopify.com",
  "x-shopify-event-id": "98880550-7158-44d4-b7cd-2c97c8a091b5",
});
const telegram: Sign = (_body, secret = SECRET.replaceAll(" ", "_")) => ({ "x-telegram-bot-api-secret-token": secret });
const plain: Sign = (body, secret = SECRET) => ({ "x-signature": hmac(body, "hex", secret) });

interface Case {
  readonly scheme: NonNullable<NewSource["scheme"]>;
  readonly sign: Sign;
  readonly body: object;
  readonly stored: [accountId: string, eventId: string, type: string | null];
  readonly pointers?: Partial<NewSource>;
}

const CASES: readonly Case[] = [
  {
    scheme: "stripe",
    sign: stripe,
    body: {
      id: "evt_1",
      object: "event",
      type: "charge.succeeded",
      data: { object: { id: "ch_1", customer: "cus_7" } },
    },
    stored: ["cus_7", "evt_1", "charge.succeeded"],
  },
  {
    scheme: "stripe",
    sign: stripe,
    body: { id: "evt_2", type: "payout.paid", account: "acct_9", data: { object: { id: "po_1", customer: null } } },
    stored: ["acct_9", "evt_2", "payout.paid"],
  },
  {
    scheme: "github",
    sign: github,
    body: { action: "opened", repository: { full_name: "octo/hello" }, text: "ünïcode ✓" },
    stored: ["octo/hello", "72d3162e-cc78-11e3-81ab-4c9367dc0958", "issues"],
  },
  {
    scheme: "slack",
    sign: slack,
    body: { team_id: "T1", event_id: "Ev1", type: "event_callback", event: { type: "app_mention", text: "hi" } },
    stored: ["T1", "Ev1", "app_mention"],
  },
  {
    scheme: "shopify",
    sign: shopify,
    body: { id: 820982911946154500, line_items: [] },
    stored: ["shop.myshopify.com", "98880550-7158-44d4-b7cd-2c97c8a091b5", "orders/create"],
  },
  {
    scheme: "telegram",
    sign: telegram,
    body: { update_id: 10000, message: { chat: { id: -1001 }, text: "/start" } },
    stored: ["-1001", "10000", "message"],
  },
  {
    scheme: "telegram",
    sign: telegram,
    body: { update_id: 10001, callback_query: { from: { id: 42 }, data: "yes" } },
    stored: ["42", "10001", "callback_query"],
  },
  {
    scheme: "hmac",
    sign: plain,
    body: { order: { customer: "c-1", number: 17 } },
    stored: ["c-1", "17", null],
    pointers: { accountPointer: "/nobody\n/order/customer", idPointer: "/order/number" },
  },
];

async function createSource(db: TestDatabase, name: string, { scheme, pointers = {} }: Case): Promise<void> {
  const { account } = (await import("../src/domain/source.ts")).POINTERS[scheme];
  const secret = scheme === "telegram" ? SECRET.replaceAll(" ", "_") : SECRET;
  await insertSource(db.database, { name, scheme, secret, accountPointer: account, ...pointers });
}

const post = async (
  app: ReturnType<typeof createTestApp>,
  name: string,
  body: string,
  headers: Record<string, string>,
) => {
  const response = await app.request(`/v1/sources/${name}`, {
    method: "POST",
    body,
    headers: { "content-type": "application/json", ...headers },
  });
  return { status: response.status, text: await response.text() };
};

test(
  "what a provider signs is stored under its account, id and type, once; what is signed otherwise is 401 and not stored",
  withDatabase(async (db) => {
    for (const [i, each] of CASES.entries()) await createSource(db, `s${i}`, each);
    const app = createTestApp(db.database);
    for (const [i, { scheme, sign, body: value, stored }] of CASES.entries()) {
      const body = JSON.stringify(value, null, 2);
      const headers = await sign(body);
      for (const [fault, altered, others] of [
        ["a wrong secret", body, await sign(body, "another secret of sixteen")],
        ["another body", scheme === "telegram" ? body : body.replace("{", "{ "), scheme === "telegram" ? {} : headers],
        ["no signature", body, {}],
        ["a signature that is none", body, Object.fromEntries(Object.keys(headers).map((name) => [name, "x"]))],
      ] as const) {
        const { status, text } = await post(app, `s${i}`, altered, others);
        assert.deepEqual(
          [status, (JSON.parse(text) as { code: string }).code],
          [401, "signature_invalid"],
          `${scheme}: ${fault}`,
        );
      }
      const first = await post(app, `s${i}`, body, headers);
      assert.equal(first.status, 202, `${scheme}: ${first.text}`);
      const [accountId, eventId, type] = stored;
      assert.deepEqual(JSON.parse(first.text), { accountId, seq: 1, duplicate: false });
      assert.deepEqual(JSON.parse((await post(app, `s${i}`, body, await sign(body))).text), {
        accountId,
        seq: 1,
        duplicate: true,
      });
      const rows = await db.query(
        "select event_id, type, data::text as data, metadata ->> 'source' as source from inturn.events where account_id = $1",
        [accountId],
      );
      assert.deepEqual(rows, [{ event_id: eventId, type, data: body, source: `s${i}` }]);
      // Of another scheme the same secret and signature say nothing.
      const stranger = CASES.findIndex((other) => other.scheme !== scheme);
      assert.equal((await post(app, `s${stranger}`, body, headers)).status, 401);
    }
    assert.equal((await db.query("select from inturn.events")).length, CASES.length);
  }),
);

test(
  "several signatures, old ones, and questions whether there is somebody; a body without its account names the pointer",
  withDatabase(async (db) => {
    const [stripeCase, , githubCase, slackCase] = CASES as [Case, Case, Case, Case];
    for (const each of [stripeCase, githubCase, slackCase]) await createSource(db, each.scheme, each);
    const app = createTestApp(db.database);
    const body = JSON.stringify(stripeCase.body);
    const header = Stripe.webhooks.generateTestHeaderString({ payload: body, secret: SECRET });
    const [time, good] = header.split(",");
    const bad = `v1=${"0".repeat(64)}`;
    assert.equal(
      (await post(app, "stripe", body, { "stripe-signature": [time, bad, good, "v0=1"].join(",") })).status,
      202,
    );
    assert.equal((await post(app, "stripe", body, { "stripe-signature": [time, bad].join(",") })).status, 401);
    const old = Stripe.webhooks.generateTestHeaderString({ payload: body, secret: SECRET, timestamp: now() - 301 });
    assert.equal((await post(app, "stripe", body, { "stripe-signature": old })).status, 401);
    const question = JSON.stringify({ type: "url_verification", challenge: "3eZbrw1aB", token: "x" });
    assert.deepEqual(await post(app, "slack", question, await slack(question)), { status: 200, text: "3eZbrw1aB" });
    assert.equal((await post(app, "slack", question, await slack(question, "another secret of sixteen"))).status, 401);
    const stale = {
      "x-slack-request-timestamp": String(now() - 400),
      "x-slack-signature": `v0=${hmac(`v0:${now() - 400}:${question}`, "hex")}`,
    };
    assert.equal((await post(app, "slack", question, stale)).status, 401);
    const zen = JSON.stringify({ zen: "Design for failure.", hook_id: 1 });
    assert.deepEqual(await post(app, "github", zen, { ...(await github(zen)), "x-github-event": "ping" }), {
      status: 200,
      text: "pong",
    });
    const nowhere = JSON.stringify({ action: "opened" });
    const refused = await post(app, "github", nowhere, await github(nowhere));
    assert.equal(refused.status, 422);
    const problem = JSON.parse(refused.text) as {
      code: string;
      errors: { pointer?: string; where?: string; message: string }[];
    };
    assert.equal(problem.code, "event_invalid");
    assert.match(JSON.stringify(problem.errors), /repository\/full_name.*must name the account/);
    assert.equal((await db.query("select from inturn.events")).length, 1);
  }),
);

test("the examples that Slack and GitHub publish fit", () => {
  const slackBody =
    "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
  const slackHeaders = {
    "x-slack-request-timestamp": "1531420618",
    "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
  };
  assert.ok(SIGNATURES.slack.fits("8f742231b10e8888abcd99yyyzzz85a5", Buffer.from(slackBody), slackHeaders));
  const gitHubHeaders = {
    "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
  };
  assert.ok(SIGNATURES.github.fits("It's a Secret to Everybody", Buffer.from("Hello, World!"), gitHubHeaders));
});

test(
  "the command line creates a source of a scheme, with a secret that the provider has made",
  withDatabase(async (db) => {
    const run = async (...args: string[]) => await runProcess(["sources", ...args], { DATABASE_URL: db.url });
    const file = join(tmpdir(), `inturn-secret-${process.pid}`);
    writeFileSync(file, `${SECRET.replaceAll(" ", "-")}\n`);
    try {
      const created = await run("create", "shop", "--scheme", "stripe", "--secret-file", file, "--json");
      assert.deepEqual(JSON.parse(created.stdout), {
        name: "shop",
        secret: SECRET.replaceAll(" ", "-"),
        path: "/v1/sources/shop",
      });
      assert.match((await run("list")).stdout, /shop +stripe +\/data\/object\/customer \/account \/data\/object\/id/);
      const custom = await run(
        "create",
        "own",
        "--scheme",
        "hmac",
        "--account",
        "/a",
        "--account",
        "header:x-tenant",
        "--type",
        "/kind",
      );
      assert.match(custom.stdout, /^[0-9a-f]{64}\n$/);
      assert.match((await run("list")).stdout, /own +hmac +\/a header:x-tenant/);
      assert.match((await run("create", "bot", "--scheme", "telegram")).stdout, /^[0-9a-f]{64}\n$/);
      assert.match((await run("rotate", "bot")).stdout, /^[0-9a-f]{64}\n$/);
      assert.equal((await run("rotate", "shop", "--secret-file", file)).code, 0);
      for (const args of [
        ["x", "--scheme", "hmac"],
        ["x"],
        ["x", "--scheme", "paypal"],
        ["x", "--account", "customer"],
        ["x", "--account", "/a", "--secret-file", "/nowhere"],
      ]) {
        const refused = await run("create", ...args);
        assert.notEqual(refused.code, 0, args.join(" "));
      }
      const app = createTestApp(db.database);
      const body = JSON.stringify(CASES[0]?.body);
      await until(
        "the source is known",
        async () => (await post(app, "shop", body, await stripe(body, SECRET.replaceAll(" ", "-")))).status === 202,
      );
    } finally {
      rmSync(file);
    }
  }),
);
