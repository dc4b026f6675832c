import { html } from "hono/html";
import { DEAD_LETTERS_OF_ACCOUNT_MAX, type DeadLetter, listDeadLetters } from "../db/dead-letters.ts";
import type { Database } from "../db/pool.ts";
import { ID_LENGTH_MAX } from "../domain/event.ts";
import { timeOfDay } from "./format.ts";
import { type DashboardPage, lookAt, type PageContext } from "./page.ts";
import { mayOperate, verbButton } from "./verbs.ts";
import { accountPath, type Markup, showPage, table } from "./view.ts";

const ACCOUNTS_PER_PAGE = 50;

/** What was set aside and waits for a decision. */
export function createDeadLettersPage(database: Database): DashboardPage {
  return lookAt("/dead-letters", async (c) => {
    const afterAccountId = (c.req.query("after") ?? "").slice(0, ID_LENGTH_MAX);
    const letters = await listDeadLetters(database, { afterAccountId, accountsMax: ACCOUNTS_PER_PAGE });
    const accountIds = [...new Set(letters.map(({ accountId }) => accountId))];
    const last = accountIds.length === ACCOUNTS_PER_PAGE ? accountIds.at(-1) : undefined;
    const path = `${c.get("basePath")}/dead-letters`;
    return await showPage(c, {
      title: "Dead letters",
      entry: "/dead-letters",
      content: html`<p class="dim">Events that were given up and set aside, so that the ones behind them could go on; of each account the first ${DEAD_LETTERS_OF_ACCOUNT_MAX}.</p>
${lettersTable(c, letters)}
<nav class="pages" aria-label="Pages of the listing">${afterAccountId === "" ? "" : html`<a class="button" href="${path}">First page</a>`}
${last === undefined ? "" : html`<a class="button" href="${path}?after=${encodeURIComponent(last)}">Next page →</a>`}</nav>`,
    });
  });
}

function lettersTable(c: PageContext, letters: readonly DeadLetter[]): Markup {
  if (letters.length === 0) return html`<p class="card good">✓ Nothing was set aside.</p>`;
  const columns = [
    { label: "Account" },
    { label: "Seq", number: true },
    { label: "Type" },
    { label: "Id" },
    { label: "Set aside" },
    { label: "Attempts", number: true },
    { label: "Error" },
    { label: "" },
  ];
  const rows = letters.map(
    (letter) => html`<tr>
<td><a href="${accountPath(c, letter.accountId)}?after=${Math.max(0, letter.seq - 5)}">${letter.accountId}</a></td>
<td class="number">${letter.seq}</td>
<td>${letter.type ?? "–"}</td>
<td>${letter.eventId ?? "–"}</td>
<td>${timeOfDay(letter.setAsideAt)}</td>
<td class="number">${letter.attempts}</td>
<td class="long">${(letter.error ?? "").slice(0, 500)}</td>
<td>${mayOperate(c) ? verbButton(c, "redrive", letter) : ""}</td>
</tr>`,
  );
  return table(columns, rows, "Dead letters");
}
