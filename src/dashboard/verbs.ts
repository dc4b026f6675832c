/**
 * The operator's verbs as buttons: each asks before it is carried out, and takes a reason for the record.
 */
import { html } from "hono/html";
import type { Database } from "../db/pool.ts";
import { VERBS, type Verb } from "../domain/account.ts";
import { carryOutVerb } from "../engine/operate.ts";
import { InturnError } from "../errors/error.ts";
import type { Log } from "../log/log.ts";
import type { DashboardPage, PageContext } from "./page.ts";
import { accountPath, type Markup, tokenField } from "./view.ts";

/** What a button says, and what its dialog says before it is done. */
const WORDS: Record<Verb, { label: string; effect: string }> = {
  pause: {
    label: "‖ Pause",
    effect: "No event of this account starts until it is resumed. The one in hand is finished.",
  },
  resume: { label: "▶ Resume", effect: "The account goes on where it was paused." },
  retry: { label: "↻ Retry now", effect: "The first waiting event is tried again at once, with all its attempts." },
  skip: { label: "↷ Skip", effect: "The first waiting event is never handled; the ones behind it go on." },
  redrive: { label: "↻ Redrive", effect: "The dead letter is handed out again." },
  replay: {
    label: "⟲ Replay",
    effect: "Every event from this seq on is handled again, in order, whatever became of it.",
  },
};

/** Characters that a field of a form may have: as many as the record keeps of a reason. */
export const TEXT_LENGTH_MAX = 2_000;

/** Whether this visitor may carry out verbs. */
export function mayOperate(c: PageContext): boolean {
  return c.get("caller").scopes.includes("operate");
}

/** Verbs that change what becomes of events for good. */
const GRAVE: ReadonlySet<Verb> = new Set(["skip", "replay"]);

/**
 * A button of a verb, with its dialog: the reason has the focus, and Enter does what the button does.
 *
 * @param about.seq of a dead letter; without it `replay` asks for one
 * @param about.meant what the verb is about, so that nobody has to guess
 */
export function verbButton(
  c: PageContext,
  verb: Verb,
  about: { accountId: string; seq?: number; meant?: Markup },
): Markup {
  const { accountId, seq, meant = html`` } = about;
  const grave = GRAVE.has(verb) ? "grave" : "";
  const { label, effect } = WORDS[verb];
  const id = `ask-${verb}${seq === undefined ? "" : `-${Buffer.from(`${accountId}/${seq}`).toString("base64url")}`}`;
  return html`<button type="button" class="${grave}" popovertarget="${id}">${label}</button>
<div popover id="${id}"><h2>${label}: ${accountId}${seq === undefined ? "" : ` seq ${seq}`}</h2><p>${effect}</p>${meant}
<form method="post" action="${accountPath(c, accountId)}/${verb}">${tokenField(c)}
${seqField(verb, seq)}
<label class="field">Why? It is kept in the record. <input name="why" maxlength="${TEXT_LENGTH_MAX}" autocomplete="off" autofocus></label>
<div class="actions"><button class="strong ${grave}">${label}</button><button type="button" popovertarget="${id}" popovertargetaction="hide">Leave it</button></div>
</form></div>`;
}

function seqField(verb: Verb, seq: number | undefined): Markup {
  if (verb === "replay") {
    return html`<label class="field">From seq <input name="seq" type="number" min="1" required></label>`;
  }
  if (verb !== "redrive") return html``;
  return html`<input type="hidden" name="seq" value="${seq ?? ""}">
<label class="field"><input type="checkbox" name="force" value="yes"> If later events were handled already, append a copy at the end</label>`;
}

/** What the buttons' forms are sent to. */
export function createVerbPages(database: Database, log: Log): DashboardPage[] {
  return VERBS.map((verb) => ({
    method: "POST",
    path: `/accounts/:id/${verb}`,
    access: "operate",
    handle: async (c, form) => {
      const accountId = c.req.param("id") ?? "";
      const who = c.get("caller").name;
      const operated = await carryOutVerb(database, { verb, accountId, who, ...readForm(verb, form) });
      log.info({ verb, accountId, seq: operated.seq, who }, "an operator's verb was carried out");
      return c.redirect(`${accountPath(c, accountId)}?done=${verb}`, 303);
    },
  }));
}

function readForm(verb: Verb, form: URLSearchParams): { why?: string; seq?: number; force?: boolean } {
  const why = readText(form, "why");
  const reason = why === undefined ? {} : { why };
  if (verb !== "redrive" && verb !== "replay") return reason;
  const seq = form.get("seq") ?? "";
  if (!/^[1-9]\d{0,14}$/.test(seq)) throw operationInvalid("seq", "must be the seq of an event");
  return { ...reason, seq: Number(seq), ...(verb === "redrive" && { force: form.get("force") === "yes" }) };
}

/** What a field of a form says; undefined when it is empty. */
export function readText(form: URLSearchParams, name: string): string | undefined {
  const value = (form.get(name) ?? "").trim();
  if (value.length > TEXT_LENGTH_MAX || value.includes("\0")) {
    throw operationInvalid(name, `must be text of ${TEXT_LENGTH_MAX} characters at most`);
  }
  return value === "" ? undefined : value;
}

/** The error of a field that cannot be used. */
export function operationInvalid(where: string, message: string): InturnError {
  return new InturnError("operation_invalid", `The field ${where} ${message}; nothing was changed.`, {
    faults: [{ where: `/${where}`, message }],
  });
}
