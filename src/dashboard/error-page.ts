/**
 * The page that says what went wrong; and where it is a key that is missing, the page that asks for one.
 */
import { html } from "hono/html";
import type { InturnError } from "../errors/error.ts";
import type { PageContext } from "./page.ts";
import { type Markup, showPage } from "./view.ts";

/** Shows an error. The status is set already. */
export async function showError(c: PageContext, error: InturnError, requestId: string): Promise<Response> {
  if (error.code === "key_missing" || error.code === "key_invalid") return await askForKey(c, error);
  const back = c.req.method === "POST" ? c.req.header("referer") : undefined;
  return await showPage(c, {
    title: "That did not work",
    content: html`<div class="note bad" role="alert"><p>${error.message}</p>
<p class="dim">Code <code>${error.code}</code>, request <code>${requestId}</code></p></div>
<div class="actions">${back === undefined ? "" : html`<a class="button" href="${pathOf(back)}">← Back</a>`}<a class="button" href="${c.get("basePath")}/">Overview</a></div>`,
  });
}

async function askForKey(c: PageContext, error: InturnError): Promise<Response> {
  const to = c.req.method === "GET" ? c.req.path + (new URL(c.req.url).search || "") : "/";
  const why: Markup =
    error.code === "key_invalid" ? html`<p class="note bad" role="alert">${error.message}</p>` : html``;
  return await showPage(c, {
    title: "Sign in",
    content: html`${why}<form class="card" method="post" action="${c.get("basePath")}/sign-in">
<input type="hidden" name="to" value="${to}">
<label class="field">An API key with the scope <code>read</code>, and <code>operate</code> to change anything
<input type="password" name="key" required autofocus autocomplete="current-password" placeholder="itn_…"></label>
<p class="dim">It stays in this browser for twelve hours, and is sent to this server only. Make one with <code>inturn keys create --name me --scope read,operate</code>.</p>
<button class="strong">Sign in</button>
</form>`,
  });
}

/** Only the path: where the address leads to must not be in another's hands. */
function pathOf(address: string): string {
  const url = URL.parse(address);
  return url === null ? "/" : `${url.pathname}${url.search}`;
}
