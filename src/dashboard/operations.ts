/**
 * A verb for all accounts that match: first counted, then begun, then watched.
 */
import { html } from "hono/html";
import {
  beginOperation,
  cancelOperation,
  listBulkOperations,
  type OperationStatus,
  requireOperation,
} from "../db/bulk-operations.ts";
import type { Database } from "../db/pool.ts";
import { SHOWN_STATES } from "../db/urgent-accounts.ts";
import type { ShownState } from "../domain/account.ts";
import { isTime } from "../domain/duration.ts";
import { ID_LENGTH_MAX } from "../domain/event.ts";
import { BULK_VERBS, type BulkVerb, type OperationFilter } from "../domain/operation.ts";
import type { Log } from "../log/log.ts";
import { count, timeOfDay } from "./format.ts";
import { type DashboardPage, lookAt, type PageContext } from "./page.ts";
import { mayOperate, operationInvalid, readText, TEXT_LENGTH_MAX } from "./verbs.ts";
import { freshPart, type Markup, showPage, table, tokenField } from "./view.ts";

const LISTED_MAX = 50;

/** The pages of operations, and what their forms are sent to. */
export function createOperationPages(database: Database, log: Log): DashboardPage[] {
  const operate = (path: string, handle: DashboardPage["handle"]): DashboardPage => ({
    method: "POST",
    path,
    access: "operate",
    handle,
  });
  return [
    lookAt("/operations", async (c) => {
      const content = freshPart(operationsTable(c, await listBulkOperations(database, LISTED_MAX)));
      return await showPage(c, { title: "Operations", entry: "/accounts", content });
    }),
    lookAt("/operations/:id", async (c) => {
      const status = await requireOperation(database, c.req.param("id") ?? "");
      const content = freshPart(statusOf(c, status));
      return await showPage(c, { title: `Operation ${status.id}`, entry: "/accounts", content });
    }),
    operate("/operations/count", async (c, form) => {
      const { verb, where, why } = readForm(form);
      const { matched } = await beginOperation(database, { verb, where, who: c.get("caller").name, dryRun: true });
      const content = confirmation(c, { verb, where, why, matched });
      return await showPage(c, { title: `${verb}: ${count(matched)} match`, entry: "/accounts", content });
    }),
    operate("/operations", async (c, form) => {
      const { verb, where, why } = readForm(form);
      const who = c.get("caller").name;
      const { id, matched } = await beginOperation(database, { verb, where, why, who });
      log.info({ id, matched, verb, who }, "an operation was begun");
      return c.redirect(`${c.get("basePath")}/operations/${id}`, 303);
    }),
    operate("/operations/:id/cancel", async (c) => {
      const { id } = await requireOperation(database, c.req.param("id") ?? "");
      await cancelOperation(database, { id, who: c.get("caller").name });
      return c.redirect(`${c.get("basePath")}/operations/${id}`, 303);
    }),
  ];
}

/** What is asked about all accounts that a listing shows. */
export function bulkForm(c: PageContext, shown: { states: readonly ShownState[]; prefix: string }): Markup {
  const base = c.get("basePath");
  if (!mayOperate(c)) return html``;
  return html`<details class="bulk"><summary>All that match…</summary>
<form class="filters" method="post" action="${base}/operations/count">${tokenField(c)}
<select name="verb" aria-label="Verb">${BULK_VERBS.map((verb) => html`<option ${verb === "retry" ? html`selected` : ""}>${verb}</option>`)}</select>
<select name="state" aria-label="In this state"><option value="">any state</option>${SHOWN_STATES.map(
    (state) => html`<option ${shown.states.includes(state) ? html`selected` : ""}>${state}</option>`,
  )}</select>
<input name="prefix" value="${shown.prefix}" maxlength="${ID_LENGTH_MAX}" placeholder="Id begins with…" aria-label="Id begins with">
<input name="type" maxlength="${TEXT_LENGTH_MAX}" placeholder="Type, such as payment.*" aria-label="Type of the head">
<input name="error" maxlength="${TEXT_LENGTH_MAX}" placeholder="Part of the error" aria-label="Part of the error">
<input name="settledSince" maxlength="40" placeholder="Replay: settled since 2026-05-01T18:00Z" aria-label="Replay what was settled since">
<input name="why" maxlength="${TEXT_LENGTH_MAX}" placeholder="Why? It is kept in the record" aria-label="Why">
<button>Count them</button> <a href="${base}/operations">Operations</a>
</form></details>`;
}

interface Asked {
  readonly verb: BulkVerb;
  readonly where: OperationFilter;
  readonly why: string | undefined;
}

function readForm(form: URLSearchParams): Asked {
  const text = (name: string) => readText(form, name);
  const verb = BULK_VERBS.find((known) => known === form.get("verb"));
  if (verb === undefined) throw operationInvalid("verb", `must be one of ${BULK_VERBS.join(", ")}`);
  const named = text("state");
  const state = SHOWN_STATES.find((known) => known === named);
  if (named !== undefined && state === undefined)
    throw operationInvalid("state", `must be one of ${SHOWN_STATES.join(", ")}`);
  const settledSince = text("settledSince");
  if (settledSince !== undefined && !isTime(settledSince))
    throw operationInvalid("settledSince", "must be a time with its zone, such as 2026-05-01T18:00:00Z");
  const states = state === undefined ? undefined : [state];
  return {
    verb,
    where: { states, prefix: text("prefix"), type: text("type"), error: text("error"), settledSince },
    why: text("why"),
  };
}

function confirmation(c: PageContext, { verb, where, why, matched }: Asked & { matched: number }): Markup {
  const base = c.get("basePath");
  const fields = {
    verb,
    state: where.states?.[0],
    prefix: where.prefix,
    type: where.type,
    error: where.error,
    settledSince: where.settledSince,
    why,
  };
  const hidden = Object.entries(fields).map(([name, value]) =>
    value === undefined ? html`` : html`<input type="hidden" name="${name}" value="${value}">`,
  );
  const grave = verb === "skip" ? "grave" : "";
  const act = html`<form method="post" action="${base}/operations">${tokenField(c)}${hidden}
<div class="actions"><button class="strong ${grave}">${verb} ${count(matched)}</button> <a class="button" href="${base}/accounts">Leave it</a></div></form>`;
  return html`<p class="card">${filterText(where)}: <strong>${count(matched)} match now.</strong> Nothing was changed yet. What has changed until its turn comes is left out.</p>
${matched === 0 ? html`<a class="button" href="${base}/accounts">Back</a>` : act}`;
}

/** What an operation was asked for, in words. */
function filterText({ states, prefix, type, error, blockedBefore, settledSince, limit }: OperationFilter): string {
  const parts = [
    states === undefined ? "" : `in the state ${states.join(" or ")}`,
    prefix === undefined ? "" : `whose id begins with ${prefix}`,
    type === undefined ? "" : `with an event of the type ${type}`,
    error === undefined ? "" : `with ${error} in the error`,
    blockedBefore === undefined ? "" : `in that state since before ${blockedBefore}`,
    settledSince === undefined ? "" : `from what was settled since ${settledSince}`,
    limit === undefined ? "" : `at most ${count(limit)}`,
  ].filter((part) => part !== "");
  return parts.length === 0 ? "All accounts" : `Accounts ${parts.join(", ")}`;
}

function statusOf(c: PageContext, status: OperationStatus): Markup {
  const { id, verb, where, state, matched, tried, done, leftOut, who, why, createdAt, endedAt } = status;
  const left = Object.entries(leftOut ?? {}).map(
    ([code, accounts]) => html`<li>${count(accounts)} <code>${code}</code></li>`,
  );
  const cancel =
    state === "running" && mayOperate(c)
      ? html`<form method="post" action="${c.get("basePath")}/operations/${id}/cancel">${tokenField(c)}<button>Cancel: what is done stays</button></form>`
      : html``;
  return html`<p class="card"><strong>${verb}</strong>: ${filterText(where)}. Begun ${timeOfDay(createdAt)} by ${who}${why === null ? "" : html`: ${why}`}.</p>
<p><meter min="0" max="${matched}" value="${tried}" aria-label="Progress"></meter> <strong>${state}</strong>${endedAt === null ? "" : ` ${timeOfDay(endedAt)}`}: ${count(done)} of ${count(matched)} done</p>
${left.length === 0 ? "" : html`<p>Left out, by reason (<a href="${c.get("basePath")}/docs">error codes</a>):</p><ul class="card states">${left}</ul>`}
${cancel}`;
}

function operationsTable(c: PageContext, operations: readonly OperationStatus[]): Markup {
  if (operations.length === 0)
    return html`<p class="card">No operation on many accounts was begun in the last month.</p>`;
  const columns = [
    { label: "Operation", number: true },
    { label: "Verb" },
    { label: "State" },
    { label: "Done", number: true },
    { label: "Matched", number: true },
    { label: "Begun" },
    { label: "Who" },
    { label: "Why" },
  ];
  const rows = operations.map(
    ({ id, verb, state, done, matched, createdAt, who, why }) => html`<tr>
<td class="number"><a href="${c.get("basePath")}/operations/${id}">${id}</a></td><td>${verb}</td><td>${state}</td>
<td class="number">${count(done)}</td><td class="number">${count(matched)}</td><td>${timeOfDay(createdAt)}</td><td>${who}</td><td class="long">${why ?? "–"}</td></tr>`,
  );
  return table(columns, rows, "Operations");
}
