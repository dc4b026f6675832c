/**
 * The dashboard in a real browser. Without Chromium these tests are left out, and say so by their names. Pictures of every
 * page, light, dark and narrow, are kept in `.inturn/pictures`.
 */
import assert from "node:assert/strict";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import axe, { type AxeResults } from "axe-core";
import type { Page } from "playwright-core";
import { closeBrowser, executablePath, LOOKS, openPage, PAGES, takePicture } from "./support/browser.ts";
import { type TestDatabase, withDatabase } from "./support/database.ts";
import { startProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

const PICTURES = join(import.meta.dirname, "..", ".inturn", "pictures");

const skip = executablePath === undefined ? "there is no Chromium on this machine" : false;
after(closeBrowser);

/** A server and a worker whose handler fails on poison until a file says that it is cured. */
async function startSystem(db: TestDatabase) {
  const cure = join(tmpdir(), `inturn-cure-${process.pid}-${Math.random()}`);
  const handler = `${cure}.mjs`;
  writeFileSync(
    handler,
    `import { existsSync } from "node:fs";
    export default async (event) => {
      await new Promise((resolve) => setTimeout(resolve, 40));
      if (event.data.poison && !existsSync(${JSON.stringify(cure)})) throw new TypeError("<img src=x onerror=alert(1)> is no amount");
    };`,
  );
  const environment = {
    DATABASE_URL: db.url,
    PORT: "0",
    INTURN_HANDLER: handler,
    INTURN_ATTEMPTS_MAX: "2",
    INTURN_BACKOFF_MS: "50",
  };
  const server = startProcess(["serve"], environment);
  const worker = startProcess(["work"], environment);
  const [{ url = "" }] = await Promise.all([server.ready, worker.ready]);
  const post = async (events: unknown[]) => {
    const headers = { "content-type": "application/json" };
    const response = await fetch(`${url}/v1/events`, { method: "POST", headers, body: JSON.stringify(events) });
    assert.equal(response.status, 202);
  };
  return {
    url,
    post,
    cure: () => writeFileSync(cure, ""),
    async stop() {
      assert.deepEqual(await Promise.all([server.stop(), worker.stop()]), [0, 0]);
      for (const file of [handler, cure]) rmSync(file, { force: true });
    },
  };
}

const accountsOf = (count: number) => Array.from({ length: count }, (_, i) => `account-${String(i).padStart(3, "0")}`);

/** Reads a tile of the overview. */
async function tile(page: Page, name: string): Promise<string> {
  return (await page.locator(".tile", { hasText: name }).locator("dd").innerText()).replaceAll(",", "");
}

test(
  "the overview moves while events are handled; a poisoned account is found in two clicks, retried, and seen green",
  { skip },
  withDatabase(async (db) => {
    const system = await startSystem(db);
    const { page, faults } = await openPage();
    await page.goto(system.url);
    assert.equal(await tile(page, "Received, ever"), "0");
    const events = accountsOf(50).flatMap((accountId) =>
      Array.from({ length: 20 }, (_, n) => ({ accountId, data: { n } })),
    );
    await system.post(events);
    await system.post([
      { accountId: "poisoned", data: { n: 1 } },
      {
        accountId: "poisoned",
        id: "evt-2",
        type: "<script>alert(2)</script>",
        data: { poison: true, text: "<script>alert(3)</script>" },
      },
      { accountId: "poisoned", data: { n: 3 } },
    ]);
    // Nobody reloads anything: the numbers come by themselves, and the charts move on.
    await until("the overview has moved", async () => (await tile(page, "Received, ever")) === "1003");
    await until("all but the poison is done", async () => (await tile(page, "Backlog")).startsWith("2 "));
    const points = Number(await page.locator("#charts").getAttribute("data-count"));
    await until(
      "the charts move",
      async () => Number(await page.locator("#charts").getAttribute("data-count")) > points,
    );
    assert.equal(await page.locator(".chart canvas").count(), 3);

    // The first click.
    await page.getByRole("link", { name: "poisoned" }).click();
    const body = await page.locator("body").innerText();
    assert.match(
      body,
      /Event 2 failed, attempt 2, blocked since .*TypeError: <img src=x onerror=alert\(1\)> is no amount/s,
    );
    assert.match(body, /<script>alert\(3\)<\/script>/);
    system.cure();
    // The second one opens the question, which is then answered.
    await page.getByRole("button", { name: "Retry now" }).first().click();
    await page.locator(":popover-open").getByLabel("Why?").fill("the handler was mended");
    await page.locator(":popover-open").getByRole("button", { name: "Retry now" }).click();
    await page.getByText("retry was carried out").waitFor();
    await page.locator(".state.idle").waitFor();
    assert.deepEqual(
      await page
        .locator("td .state")
        .allInnerTexts()
        .then((all) => all.map((text) => text.replace(/^\W+/, ""))),
      ["processed", "processed", "processed"],
    );
    await page.getByRole("link", { name: "Overview" }).click();
    await page.getByText("No account is blocked or retrying").waitFor();
    assert.deepEqual(await db.query("select verb, why from inturn.operator_log"), [
      { verb: "retry", why: "the handler was mended" },
    ]);
    assert.deepEqual(faults, []);
    await page.context().close();
    await system.stop();
  }),
);

test(
  "updates can be paused and resumed; a search narrows the accounts without a reload; the keyboard is enough",
  { skip },
  withDatabase(async (db) => {
    const system = await startSystem(db);
    await system.post(accountsOf(120).map((accountId) => ({ accountId, data: {} })));
    const { page, faults } = await openPage();
    await page.goto(system.url);
    await page.getByRole("button", { name: "Pause" }).click();
    const before = await tile(page, "Received, ever");
    await system.post([{ accountId: "later", data: {} }]);
    await until("the server knows", async () =>
      (await fetch(system.url).then((answer) => answer.text())).includes("<dd>121</dd>"),
    );
    assert.equal(await tile(page, "Received, ever"), before);
    await page.getByRole("button", { name: "Resume" }).click();
    await until("the news has come", async () => (await tile(page, "Received, ever")) === "121");

    await page.goto(`${system.url}/accounts`);
    await page.keyboard.press("Tab");
    assert.equal(await page.locator(":focus").innerText(), "Skip to the content");
    assert.equal(await page.locator("tbody tr").count(), 50);
    await page.getByLabel("Account begins with").fill("account-07");
    await until("the list is narrowed", async () => (await page.locator("tbody tr").count()) === 10);
    assert.match(page.url(), /search=account-07/);
    await page.getByRole("link", { name: "account-075" }).press("Enter");
    await page.getByRole("heading", { name: "account-075" }).waitFor();
    await page.getByRole("button", { name: "Pause", exact: false }).last().press("Enter");
    await page.locator(":popover-open").getByRole("button", { name: "Pause" }).press("Enter");
    await page.locator(".state.paused").waitFor();
    assert.deepEqual(faults, []);
    await page.context().close();
    await system.stop();
  }),
);

test(
  "the overview says which target is away, who waits and when it is tried again, without a reload",
  { skip },
  withDatabase(async (db) => {
    mkdirSync(PICTURES, { recursive: true });
    const server = startProcess(["serve"], { DATABASE_URL: db.url, PORT: "0" });
    const { url = "" } = await server.ready;
    const { page, faults } = await openPage();
    await page.goto(url);
    await db.query(`insert into inturn.accounts (id, last_seq, state, head_target)
      select 'shop-' || i, 2, 'waiting', 'stripe' from generate_series(1, 312) as i`);
    await db.query(
      "insert into inturn.events (account_id, seq, data, received_at) select id, seq, '{}', now() from inturn.accounts, generate_series(1, 2) as seq",
    );
    await db.query(`insert into inturn.targets (name, state, away_since, next_probe_at, reason)
      values ('stripe', 'open', now() - interval '75 s', now() + interval '30 s', '31 of the last 40 attempts failed, the last one with: Error: connect ECONNREFUSED')`);
    const note = page.locator(".note", { hasText: "stripe is away" });
    await note.waitFor();
    assert.match(
      await note.innerText(),
      /stripe is away for .*: 312 accounts wait, with 624 events, next try in \d+\.\d s\. 31 of the last 40/,
    );
    await page.screenshot({ path: join(PICTURES, "target-away.png") });
    await page.goto(`${url}/accounts/shop-1`);
    await page.getByText("Event 1 waits for its target stripe, which is away.").waitFor();
    await page.screenshot({ path: join(PICTURES, "account-waiting.png") });
    assert.deepEqual(faults, []);
    await page.context().close();
    assert.equal(await server.stop(), 0);
  }),
);

test(
  "lanes cut the gap between two runs, zoom by a pull, a button and a key, and say when there is nothing to draw",
  { skip },
  withDatabase(async (db) => {
    mkdirSync(PICTURES, { recursive: true });
    const system = await startSystem(db);
    const { page, faults } = await openPage();
    await page.goto(`${system.url}/lanes?seconds=30`);
    await page.getByText("No account was busy in the last 30 s. Choose a longer time.").waitFor();
    await system.post([...accountsOf(8), ...accountsOf(8)].map((accountId) => ({ accountId, data: {} })));
    const isDone = async () => (await db.query("select from inturn.accounts where state <> 'idle'")).length === 0;
    await until("the first run is done", isDone);
    await db.query(`update inturn.events set received_at = received_at - interval '1 day',
      started_at = started_at - interval '1 day', processed_at = processed_at - interval '1 day'`);
    await system.post(accountsOf(12).map((accountId) => ({ accountId, data: {} })));
    await until("the second run is done", isDone);

    await page.goto(`${system.url}/lanes?seconds=0`);
    const picture = page.locator("#lanes canvas");
    const label = async () => (await picture.getAttribute("aria-label")) ?? "";
    await until("it is drawn", async () => (await label()).includes("1 d from"));
    assert.match(await label(), /, gaps cut: 1$/);
    assert.equal(await page.locator("#lanes-empty").isVisible(), false);
    await page.screenshot({ path: join(PICTURES, "lanes-two-runs.png") });

    const box = await picture.boundingBox();
    assert.ok(box !== null);
    const pull = async (from: number, to: number) => {
      await page.mouse.move(box.x + box.width * from, box.y + 80);
      await page.mouse.down();
      await page.mouse.move(box.x + box.width * to, box.y + 80);
      await page.mouse.up();
    };
    await pull(0.16, 0.3);
    await until("it shows a part of the first run", async () => /bars, \d+ (?:ms|s) from/.test(await label()));
    await page.screenshot({ path: join(PICTURES, "lanes-zoomed.png") });
    await page.locator("#lanes").press("0");
    await until("all is shown again", async () => (await label()).includes("1 d from"));
    await page.getByRole("button", { name: "Zoom in" }).click();
    await until("half is shown", async () => (await label()).includes("12 h from"));
    await page.getByRole("button", { name: "Zoom out" }).click();
    await until("all is shown again", async () => (await label()).includes("1 d from"));
    assert.deepEqual(faults, []);
    await page.context().close();
    await system.stop();
  }),
);

test(
  "every page, light, dark and narrow, breaks no rule of accessibility, throws nothing, and has its picture taken",
  { skip },
  withDatabase(async (db) => {
    mkdirSync(PICTURES, { recursive: true });
    const system = await startSystem(db);
    await system.post([
      { accountId: "poisoned", data: { n: 1 } },
      { accountId: "poisoned", data: { poison: true } },
    ]);
    await system.post(
      accountsOf(40).flatMap((accountId, i) =>
        Array.from({ length: 5 + (i % 9) }, (_, n) => ({ accountId, data: { n } })),
      ),
    );
    await until("all but the poison is done", async () =>
      (await fetch(system.url).then((answer) => answer.text())).includes("<dd>1 <small>events"),
    );
    await db.query(
      "update inturn.events set outcome = 'dead', error = 'it was set aside' where account_id = 'account-001' and seq = 2",
    );
    await db.query("update inturn.accounts set dead = 1 where id = 'account-001'");
    for (const look of LOOKS) {
      const { page, faults } = await openPage(look);
      for (const name of Object.keys(PAGES)) {
        await takePicture(page, { url: system.url, name, look, folder: PICTURES });
        assert.deepEqual(await violationsOn(page), [], `${name} ${look}`);
        const wide = await page.evaluate<number>("document.documentElement.scrollWidth - innerWidth");
        assert.ok(wide <= 0, `${name} ${look} is ${wide} pixels wider than the window`);
      }
      assert.deepEqual(faults, []);
      await page.context().close();
    }
    await system.stop();
  }),
);

/** What axe finds, in short. Its script comes past the page's own policy, which lets in none but ours. */
async function violationsOn(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const run = 'axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21aa"] })';
  const { violations } = await page.evaluate<AxeResults>(run);
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`.slice(0, 500));
}
