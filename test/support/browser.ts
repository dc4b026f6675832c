/**
 * A real browser, if there is one, and the pages that it looks at.
 */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";

/** How a page is looked at. */
export const LOOKS = ["light", "dark", "narrow"] as const;

type Look = (typeof LOOKS)[number];

/** Every page, by the name of its picture. */
export const PAGES: Readonly<Record<string, string>> = {
  overview: "/",
  accounts: "/accounts",
  account: "/accounts/poisoned",
  events: "/events?search=poisoned",
  lanes: "/lanes?lanes=50&seconds=0",
  "dead-letters": "/dead-letters",
  workers: "/workers",
  results: "/results",
};

/** Chromium's path; undefined where there is none. `CHROMIUM` names another one. */
export const executablePath: string | undefined = findChromium();

function findChromium(): string | undefined {
  if (process.env["CHROMIUM"] !== undefined) return process.env["CHROMIUM"];
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    try {
      return execFileSync("which", [name], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
    } catch {
      // The next one.
    }
  }
  return undefined;
}

let browser: Promise<Browser> | undefined;

/** Closes the browser, if it was needed. */
export async function closeBrowser(): Promise<void> {
  await (await browser)?.close();
}

/** An empty page, and a list of what goes wrong in it. */
export async function openPage(look: Look = "light"): Promise<{ page: Page; faults: string[] }> {
  browser ??= chromium.launch({ executablePath: executablePath ?? "", args: ["--no-sandbox"] });
  const context = await (await browser).newContext({
    viewport: look === "narrow" ? { width: 390, height: 844 } : { width: 1_280, height: 900 },
    colorScheme: look === "dark" ? "dark" : "light",
  });
  const page = await context.newPage();
  const faults: string[] = [];
  page.setDefaultTimeout(15_000);
  page.on("pageerror", (error) => faults.push(error.message));
  page.on("console", (message) => message.type() === "error" && faults.push(message.text()));
  page.on("dialog", (dialog) => {
    faults.push(`a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  return { page, faults };
}

/** Goes to a page and, when all of it is there, takes its picture. */
export async function takePicture(
  page: Page,
  { url, name, look, folder }: { url: string; name: string; look: Look; folder: string },
): Promise<void> {
  await page.goto(url + PAGES[name]);
  if (name === "overview") await page.locator("#charts[data-count]").waitFor({ state: "attached" });
  if (name === "lanes") await page.locator("#lanes[data-drawn]").waitFor();
  await page.screenshot({ path: join(folder, `${name}-${look}.png`) });
}
