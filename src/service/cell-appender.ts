/**
 * Storing events over several cells. Each cell commits for itself, so a batch over several may be stored in part.
 */
import type { CellMap } from "../domain/cell.ts";
import type { Appended, NewEvent } from "../domain/event.ts";
import type { Appender, AppendOptions } from "../engine/append.ts";
import { cellOf } from "../engine/bucket.ts";
import { type Fault, InturnError } from "../errors/error.ts";
import type { Outcome } from "../http/append.ts";
import { statusOf, toInturnError } from "../http/problem.ts";

/** The events of a batch that lie in one cell, and where each stands in the batch. */
interface Part {
  readonly cell: string;
  readonly events: NewEvent[];
  readonly indices: number[];
}

interface Failed {
  readonly cell: string;
  readonly error: InturnError;
}

/** What spreads events over cells. */
export interface CellAppenderOptions {
  readonly map: () => CellMap;
  /** Reads the map anew. */
  readonly reload: () => Promise<void>;
  readonly appenders: ReadonlyMap<string, Appender>;
}

/**
 * Creates an appender that hands each event to its cell. The events of an account always go to one cell, in their order.
 *
 * It throws, beside what an {@link Appender} throws, InturnError `stored_in_part` when some cells have stored their events and
 * others may do so when they are asked again, and `refused_in_part` when others never will; `data.events` then says of every event
 * what became of it. When no cell has stored anything, the error of one is thrown as it is. A batch that is to be stored whole and lies
 * in several cells is `batch_over_cells`.
 */
export function createCellAppender(options: CellAppenderOptions): Appender {
  return {
    async append(events, appendOptions) {
      try {
        return await appendByMap(options, events, appendOptions);
      } catch (error) {
        if (!(error instanceof InturnError) || error.code !== "wrong_cell") throw error;
      }
      // Nothing was stored: a bucket has been moved since the map was read.
      await options.reload();
      return await appendByMap(options, events, appendOptions).catch((error: unknown) => {
        throw inBetween(error);
      });
    },
  };
}

/** No cell has it: one has let the bucket go, and the other does not know yet that it has it. */
function inBetween(error: unknown): unknown {
  if (!(error instanceof InturnError) || error.code !== "wrong_cell") return error;
  const message = "The account is being moved to another cell; nothing was stored. Send the same request again.";
  return new InturnError("bucket_moving", message, { data: error.data, cause: error });
}

async function appendByMap(
  options: CellAppenderOptions,
  events: readonly NewEvent[],
  { isAtomic = false }: AppendOptions = {},
): Promise<readonly Appended[]> {
  const parts = partByCell(events, options.map());
  const [only] = parts;
  if (only !== undefined && parts.length === 1) return await appenderOf(options, only).append(events);
  if (isAtomic) throw overSeveralCells(parts);
  const appended = await Promise.allSettled(
    parts.map(async (part) => await appenderOf(options, part).append(part.events)),
  );
  return joinAnswers(events, parts, appended);
}

function partByCell(events: readonly NewEvent[], map: CellMap): Part[] {
  const parts = new Map<string, Part>();
  for (const [index, event] of events.entries()) {
    const cell = cellOf(map, event.accountId);
    const part = parts.get(cell) ?? { cell, events: [], indices: [] };
    parts.set(cell, part);
    part.events.push(event);
    part.indices.push(index);
  }
  return [...parts.values()];
}

function appenderOf({ appenders }: CellAppenderOptions, { cell }: Part): Appender {
  const appender = appenders.get(cell);
  if (appender !== undefined) return appender;
  throw new InturnError("cells_differ", `The map of buckets has a cell ${cell}, and INTURN_CELLS does not.`);
}

function overSeveralCells(parts: readonly Part[]): InturnError {
  const index = parts[1]?.indices[0] ?? 0;
  return new InturnError(
    "batch_over_cells",
    `The batch is to be stored whole, and its events lie in ${parts.length} cells: ${parts.map(({ cell }) => cell).join(", ")}; nothing was stored.`,
    { data: { index } },
  );
}

function joinAnswers(
  events: readonly NewEvent[],
  parts: readonly Part[],
  answers: readonly PromiseSettledResult<readonly Appended[]>[],
): Appended[] {
  const outcomes: Outcome[] = [];
  const failed: Failed[] = [];
  for (const [i, part] of parts.entries()) {
    const answer = answers[i];
    if (answer?.status === "fulfilled") {
      for (const [j, stored] of answer.value.entries()) outcomes[part.indices[j] ?? 0] = stored;
    } else {
      const error = inWholeBatch(part, toInturnError(answer?.reason));
      failed.push({ cell: part.cell, error });
      for (const [j, { accountId }] of part.events.entries())
        outcomes[part.indices[j] ?? 0] = { accountId, code: error.code, detail: error.message };
    }
  }
  if (failed.length === 0) return outcomes as Appended[];
  // What can never be stored is told first: whoever sends the rest again gets on.
  const refused = failed.filter(({ error }) => !isWorthRepeating(error));
  const [{ error: cause }] = [...refused, ...failed] as [Failed];
  if (failed.length === parts.length) throw cause;
  const stored = outcomes.filter((outcome) => "seq" in outcome).length;
  const what = `${stored} of ${events.length} events are stored, \`events\` says which.`;
  const details = { data: { events: outcomes }, faults: refused.flatMap(({ error }) => faultsOf(error)), cause };
  if (refused.length > 0) throw new InturnError("refused_in_part", `${what} Of the others: ${cause.message}`, details);
  const cells = failed.map(({ cell }) => cell).join(", ");
  throw new InturnError("stored_in_part", `${what} Those of the cell ${cells} are not: send it all again.`, details);
}

/** With the index that its event has in the whole batch. */
function inWholeBatch({ indices }: Part, error: InturnError): InturnError {
  const { index } = error.data;
  if (typeof index !== "number") return error;
  return new InturnError(error.code, error.message, {
    data: { ...error.data, index: indices[index] ?? 0 },
    cause: error,
  });
}

function faultsOf({ data: { index }, message }: InturnError): Fault[] {
  return typeof index === "number" ? [{ where: `/${index}`, message }] : [];
}

/** Also when a bucket has been moved: by then the map will have been read anew. */
function isWorthRepeating(error: InturnError): boolean {
  return error.code === "wrong_cell" || statusOf(error.code) >= 500 || statusOf(error.code) === 429;
}
