import type { HttpBindings } from "@hono/node-server";
import type { Context } from "hono";
import type { Caller } from "../domain/access.ts";

/** What a request for a page carries. */
interface PageEnvironment {
  Bindings: HttpBindings;
  Variables: { caller: Caller; basePath: string; formToken: string; menu: PageMenu | undefined };
}

/** What stands at the top of a page, where that differs from the dashboard of one database. */
interface PageMenu {
  readonly within?: { readonly href: string; readonly name: string };
  readonly entries?: readonly (readonly [path: string, name: string])[];
}

/** A request for a page under way. */
export type PageContext = Context<PageEnvironment>;

/** One page, or what a form of one is sent to. */
export interface DashboardPage {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly access: "open" | "read" | "operate";
  handle(c: PageContext, form: URLSearchParams): Response | Promise<Response>;
}

/** A page that is only looked at. */
export function lookAt(path: string, handle: (c: PageContext) => Response | Promise<Response>): DashboardPage {
  return { method: "GET", path, access: "read", handle };
}
