/**
 * Lists over all cells. A page begins after a position, which is the same in every cell; so each is asked for the same page, and what they
 * answer is merged.
 */
import { z } from "@hono/zod-openapi";
import { compareBytes } from "../domain/byte-order.ts";
import { InturnError } from "../errors/error.ts";
import { limitSchema, readCursor, writeCursor } from "./query.ts";
import type { ApiContext, ApiEnvironment, Route } from "./route.ts";

/** The whole API of one cell. */
export interface CellApp {
  fetch(request: Request, bindings: ApiEnvironment["Bindings"]): Response | Promise<Response>;
}

interface Account {
  readonly accountId: string;
  readonly pending: number;
}

interface Event {
  readonly accountId: string;
  readonly seq: number;
}

interface AccountPage {
  readonly accounts: readonly Account[];
  readonly next: string | null;
}

interface EventPage {
  readonly events: readonly Event[];
  readonly looked: { readonly accounts: number; readonly events: number };
  readonly next: string | null;
}

/** Each cell has its own, and not many. What begins and ends them is for one cell. */
export const OF_EACH_CELL = ["pauses", "targets", "operations"] as const;

type ListOf = Readonly<Record<string, readonly object[]>>;

/** Accounts, and finding events; what is each cell's own is told with the `cell`. */
export function createAcrossRoutes(cells: ReadonlyMap<string, CellApp>): Route[] {
  const names = [...cells.keys()];
  return [
    routeOf("/v1/accounts", "listAccounts", (c) => answerInOne<AccountPage>(c, cells, mergeAccounts)),
    routeOf("/v1/events", "findEvents", (c) => answerInOne<EventPage>(c, cells, mergeEvents)),
    ...OF_EACH_CELL.map((name) => {
      const path = `/v1/${name}`;
      return routeOf(path, `list_${name}`, (c) =>
        answerInOne<ListOf>(c, cells, (pages) => ({
          [name]: pages.flatMap((page, i) => tellCell(page[name], names[i])),
        })),
      );
    }),
  ];
}

/** The same id is something else in another cell. */
function tellCell(entries: ListOf[string] = [], cell = ""): object[] {
  return entries.map((entry) => ({ cell, ...entry }));
}

/** What it takes and answers stands in the description of a cell's API. */
function routeOf(path: string, operationId: string, handle: Route["handle"]): Route {
  const spec = { method: "get" as const, path, operationId, responses: { 200: { description: "Found." } } };
  return { spec, codes: [], access: "read", handle };
}

interface Query {
  readonly limit: number;
  readonly sort: string;
}

async function answerInOne<Page>(
  c: ApiContext,
  cells: ReadonlyMap<string, CellApp>,
  merge: (pages: readonly Page[], query: Query) => Page,
): Promise<Response> {
  const names = [...cells.keys()];
  const answers = await Promise.all([...cells.values()].map(async (cell) => await cell.fetch(c.req.raw, c.env)));
  const away = names.filter((_, i) => (answers[i]?.status ?? 500) >= 500);
  if (away.length > 0) {
    throw new InturnError(
      "database_unavailable",
      `This is of all cells, and ${away.join(", ")} cannot be asked right now. The others can: /cells/{cell} before the path.`,
    );
  }
  // What one refuses all refuse: the query.
  const refused = answers.find(({ ok }) => !ok);
  if (refused !== undefined) return refused;
  const pages = await Promise.all(answers.map(async (answer) => (await answer.json()) as Page));
  const limit = limitSchema.parse(c.req.query("limit"));
  return c.json(merge(pages, { limit, sort: c.req.query("sort") ?? "id" }) as object);
}

function mergeAccounts(pages: readonly AccountPage[], { limit, sort }: Query): AccountPage {
  const order = sort === "pending" ? byPending : byId;
  const merged = pages.flatMap(({ accounts }) => accounts).toSorted(order);
  const accounts = merged.slice(0, limit);
  const last = accounts.at(-1);
  const isLast = last === undefined || (merged.length <= limit && pages.every(({ next }) => next === null));
  const { accountId, pending } = last ?? { accountId: "", pending: 0 };
  return { accounts, next: isLast ? null : writeCursor({ sort, accountId, pending }) };
}

/** What is behind the position up to which a cell has looked is not known of it yet. */
function mergeEvents(pages: readonly EventPage[], { limit }: Query): EventPage {
  const horizon = pages
    .flatMap(({ next }) => (next === null ? [] : [readCursor(next, positionSchema, "search")]))
    .toSorted(bySeq)
    .at(0);
  const merged = pages.flatMap(({ events }) => events).toSorted(bySeq);
  const known = horizon === undefined ? merged : merged.filter((event) => bySeq(event, horizon) <= 0);
  const events = known.slice(0, limit);
  const end = known.length > limit ? events.at(-1) : horizon;
  const sum = (key: "accounts" | "events") => pages.reduce((so, { looked }) => so + looked[key], 0);
  return {
    events,
    looked: { accounts: sum("accounts"), events: sum("events") },
    next: end === undefined ? null : writeCursor({ accountId: end.accountId, seq: end.seq }),
  };
}

const positionSchema = z.object({ accountId: z.string(), seq: z.int() });

/** By bytes, as the database sorts them. */
function byId(one: { accountId: string }, other: { accountId: string }): number {
  return compareBytes(one.accountId, other.accountId);
}

function byPending(one: Account, other: Account): number {
  return other.pending - one.pending || byId(one, other);
}

function bySeq(one: Event, other: Event): number {
  return byId(one, other) || one.seq - other.seq;
}
