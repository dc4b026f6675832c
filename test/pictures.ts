/**
 * `npm run pictures`: takes the pictures of the docs, of a system at work: 6,000 events of 300 accounts, one of them poisoned.
 * It wants a database of its own (DATABASE_URL), as the demo does.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "../src/client/index.ts";
import { readSettings } from "../src/config/settings.ts";
import { useDatabase } from "../src/service/database.ts";
import { startFleet } from "../src/service/fleet.ts";
import { closeBrowser, LOOKS, openPage, PAGES, takePicture } from "./support/browser.ts";

const FOLDER = join(import.meta.dirname, "..", "docs", "pictures");
const ACCOUNTS = 300;
const EVENTS = 6_000;

/** Between 50 and 450 ms of work; a poisoned event fails, and a fragile one is set aside. */
const HANDLER = `
export const eventTypes = { fragile: { failurePolicy: "dead-letter", attemptsMax: 1 } };
export default async ({ data, type }) => {
  await new Promise((resolve) => setTimeout(resolve, 50 + Math.random() * 400));
  if (type === "fragile") throw new Error("the card was declined");
  if (data.amount === null) throw new TypeError("Cannot read properties of null (reading 'toFixed')");
};`;

const say = (line: string) => void process.stderr.write(`${line}\n`);
const handler = join(tmpdir(), `inturn-pictures-${process.pid}.mjs`);
writeFileSync(handler, HANDLER);
mkdirSync(FOLDER, { recursive: true });
const settings = readSettings(process.env, { handler, port: 0, attemptsMax: 3, backoffMs: 200, logLevel: "error" });
const database = await useDatabase({ settings, migrate: true, say });
const fleet = await startFleet({ settings, databaseUrl: database.url, workers: 2, say });
try {
  const client = createClient({ url: fleet.url });
  await client.sendAll([
    { accountId: "poisoned", type: "payment.made", data: { amount: 12 } },
    { accountId: "poisoned", type: "payment.made", data: { amount: null, note: "<script>alert(1)</script>" } },
    { accountId: "poisoned", type: "payment.made", data: { amount: 7 } },
    ...["shop-3", "shop-8"].map((accountId) => ({ accountId, type: "fragile", data: { amount: 99 } })),
  ]);
  for (const look of LOOKS) {
    const { page } = await openPage(look);
    await client.sendAll(
      Array.from({ length: EVENTS / LOOKS.length }, (_, n) => ({
        accountId: `shop-${Math.floor(Math.random() ** 2 * ACCOUNTS)}`,
        type: "payment.made",
        data: { n, amount: Math.round(Math.random() * 100) },
      })),
    );
    for (const name of Object.keys(PAGES)) await takePicture(page, { url: fleet.url, name, look, folder: FOLDER });
    await page.context().close();
    say(`took the ${look} pictures`);
  }
  await client.close();
} finally {
  await closeBrowser();
  await fleet.stop();
  await database.release();
  rmSync(handler);
}
