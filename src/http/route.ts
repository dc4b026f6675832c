import type { HttpBindings } from "@hono/node-server";
import type { RouteConfig, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { Caller, Scope } from "../domain/access.ts";
import type { ErrorCode } from "../errors/codes.ts";
import type { RequestTrace } from "../trace/request-trace.ts";

/** Who may call an operation: a key with this scope, anybody, or who signs the body. */
export type Access = Scope | "open" | "signed";

/** What stands at the top of a page: names, and where they lead, below the base path. */
export interface Menu {
  /** Where this server's pages stand in another one's: its address, and what this one is called there. */
  readonly within?: { readonly href: string; readonly name: string };
  readonly entries?: readonly (readonly [path: string, name: string])[];
}

/** What a request carries: node's own objects, who sends it, once that is known, and its trace, where its route is traced. */
export interface ApiEnvironment {
  Bindings: HttpBindings;
  Variables: {
    caller: Caller;
    trace: RequestTrace;
    /** What the proxy in front of the server puts before every path; empty without one. */
    basePath: string;
    /** Of pages: see {@link Menu}. */
    menu: Menu | undefined;
    /** Of pages: what their forms carry, so that no other site can send them. */
    formToken: string;
    /** The key that somebody signs in with. */
    signingInWith: string | undefined;
  };
}

/** A request under way. */
export type ApiContext = Context<ApiEnvironment>;

/** An answer of JSON, as the description has it. */
export function jsonAnswer(
  description: string,
  schema: z.ZodType,
): {
  description: string;
  content: { "application/json": { schema: z.ZodType } };
} {
  return { description, content: { "application/json": { schema } } };
}

/** One operation of the API: what its description says, who may call it, and what it does. */
export interface Route {
  readonly spec: RouteConfig & { readonly operationId: string };
  /** The codes of the errors that it may answer with, beside those that any request may meet. */
  readonly codes: readonly ErrorCode[];
  readonly access: Access;
  /** Whether its requests have a trace: those do that bring events. */
  readonly isTraced?: true;
  readonly handle: (c: ApiContext) => Promise<Response> | Response;
}
