/**
 * Pages for people: who may see them, how they sign in, and what protects their forms. What stands on a page is not known here.
 */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type { Context, Hono } from "hono";
import { deleteCookie, getCookie, setCookie } from "hono/cookie";
import { BodyBudget } from "../engine/body-budget.ts";
import { InturnError } from "../errors/error.ts";
import { type Guard, requireAllAccounts } from "./access.ts";
import { networkOf, refuseUnreadableAddress } from "./address.ts";
import { decodeUtf8, withBody } from "./body.ts";
import { mediaTypeOf, refuseEncoding, unsupportedType } from "./media-type.ts";
import { refuseOtherSites } from "./operations.ts";
import { respondWithProblem, statusOf } from "./problem.ts";
import type { Access, ApiContext, ApiEnvironment, Menu } from "./route.ts";

/** One page, or what a form of one is sent to. */
interface Page {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly access: Exclude<Access, "signed">;
  /** @param form what the form holds, of a page that takes one */
  handle(c: Context, form: URLSearchParams): Response | Promise<Response>;
}

/** Everything there is for people. */
export interface Pages {
  readonly pages: readonly Page[];
  /** Makes the form tokens where no key is needed: of several processes one; of a process alone its own unless told. */
  readonly formSecret?: string | undefined;
  /** The page that says what went wrong; without a key it asks for one. */
  readonly showError: (c: Context, error: InturnError, requestId: string) => Response | Promise<Response>;
  /** What stands at the top of every page; the pages know unless told. */
  readonly menu?: Menu | undefined;
}

/** An error as its request's client is told of it. */
export interface Reported {
  readonly error: InturnError;
  readonly requestId: string;
}

/** Registers the pages; what goes wrong on a page is told on a page, to who can read one. */
export function registerPages(
  app: Hono<ApiEnvironment>,
  options: { pages: Pages; guard: Guard; basePath: string; report: (c: ApiContext, thrown: unknown) => Reported },
): void {
  const { pages, showError, formSecret, menu } = options.pages;
  const guard = new PageGuard(options.guard, formSecret);
  for (const page of [...pages, guard.signIn, guard.signOut]) {
    app.on(page.method, page.path, async (c) => {
      c.set("basePath", options.basePath);
      c.set("menu", menu);
      try {
        return await guard.show(c, page);
      } catch (thrown) {
        const { error, requestId } = options.report(c, thrown);
        if (c.req.header("accept")?.includes("text/html") !== true) return respondWithProblem(c, error, requestId);
        c.status(statusOf(error.code));
        return await showError(c, error, requestId);
      }
    });
  }
}

/** Where browsers keep the key of who signed in. */
const COOKIE = "inturn_key";

/** Who signed in stays so for half a day, while the key is valid. */
const SIGNED_IN_SECONDS_MAX = 12 * 3_600;

/** A form holds a reason of full length, with room to spare. */
const FORM_BYTES_MAX = 65_536;

const FORM_TYPE = "application/x-www-form-urlencoded";

/** Everything comes from this server; uPlot and the lanes set styles through the DOM, which needs no leave. */
const HEADERS = {
  "Content-Security-Policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "same-origin",
  "Cache-Control": "no-store",
};

/** The key of who signed in with this browser. */
function readSignedIn(c: ApiContext): string | undefined {
  return getCookie(c, COOKIE);
}

/** What stands before every page, and behind its sign-in. */
class PageGuard {
  readonly #guard: Guard;
  readonly #budget = new BodyBudget({ bodyBytesMax: FORM_BYTES_MAX });
  readonly #formSecret: string;

  constructor(guard: Guard, formSecret = randomBytes(32).toString("hex")) {
    this.#guard = guard;
    this.#formSecret = formSecret;
  }

  /** Shows a page to whom it may be shown; a form is read, and only taken from a page of ours. */
  async show(c: ApiContext, page: Page): Promise<Response> {
    for (const [name, value] of Object.entries(HEADERS)) c.header(name, value);
    refuseUnreadableAddress(c);
    if (page.access !== "open") await this.#admit(c, page.access);
    if (page.method === "GET") return await page.handle(c, new URLSearchParams());
    refuseOtherSites(c);
    const form = await this.#readForm(c);
    if (page.access !== "open") this.#requireToken(c, form);
    return await page.handle(c, form);
  }

  /** `POST /sign-in`: remembers the key in the browser, and goes to where the form says. */
  readonly signIn: Page = {
    method: "POST",
    path: "/sign-in",
    access: "open",
    handle: async (c: ApiContext, form) => {
      const key = (form.get("key") ?? "").trim();
      c.set("signingInWith", key);
      await this.#admit(c, "read");
      const { protocol } = new URL(c.req.url);
      setCookie(c, COOKIE, key, {
        path: `${c.get("basePath")}/`,
        httpOnly: true,
        sameSite: "Strict",
        secure: protocol === "https:" || c.req.header("x-forwarded-proto") === "https",
        maxAge: SIGNED_IN_SECONDS_MAX,
      });
      return c.redirect(`${c.get("basePath")}${pathIn(form.get("to"))}`, 303);
    },
  };

  /** `POST /sign-out`. */
  readonly signOut: Page = {
    method: "POST",
    path: "/sign-out",
    access: "read",
    handle: (c: ApiContext) => {
      deleteCookie(c, COOKIE, { path: `${c.get("basePath")}/` });
      return c.redirect(`${c.get("basePath")}/`, 303);
    },
  };

  /** The pages show everything; who may not see everything sees none of them. */
  async #admit(c: ApiContext, access: Exclude<Access, "open" | "signed">): Promise<void> {
    await this.#guard(c, access, c.get("signingInWith") ?? readSignedIn(c));
    requireAllAccounts(c, "The pages show all accounts, and this key reaches only some.");
    const key = c.get("caller").keyId === null ? undefined : (readSignedIn(c) ?? c.req.header("authorization"));
    c.set(
      "formToken",
      createHmac("sha256", key ?? this.#formSecret)
        .update("inturn form")
        .digest("hex"),
    );
  }

  async #readForm(c: ApiContext): Promise<URLSearchParams> {
    refuseEncoding(c);
    if (mediaTypeOf(c) !== FORM_TYPE) throw unsupportedType(c, [FORM_TYPE]);
    const limits = { bodyBytesMax: FORM_BYTES_MAX, memory: this.#budget.of(networkOf(c)) };
    return await withBody(c, limits, async (bytes) => new URLSearchParams(decodeUtf8(bytes)));
  }

  #requireToken(c: ApiContext, form: URLSearchParams): void {
    const [given, wanted] = [form.get("token") ?? "", c.get("formToken")].map((text) => Buffer.from(text));
    if (given?.length === wanted?.length && timingSafeEqual(given as Buffer, wanted as Buffer)) return;
    throw new InturnError(
      "form_refused",
      "This form was not made by this server, or it was made before the server was started again; nothing was changed. Load the page anew.",
    );
  }
}

/** A path on this server, and nothing that a browser could take for an address elsewhere. */
function pathIn(given: string | null): string {
  return given !== null && /^\/(?![/\\])[\x21-\x7e]*$/.test(given) ? given : "/";
}
