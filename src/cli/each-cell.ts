import { readSettings } from "../config/settings.ts";
import type { Database } from "../db/pool.ts";
import { inEachCell } from "../service/connection.ts";
import { print, say } from "./output.ts";

/** Something that is done in every cell, or in the one database where there are none. */
interface EachCell<Result extends object> {
  /** Shown in `pg_stat_activity`. */
  readonly name: string;
  readonly json: boolean | undefined;
  /** `where` is ` in cell a`, or empty without cells. */
  readonly work: (database: Database, where: string) => Promise<Result>;
  /** Tells a person what came of it. */
  readonly tell: (result: Result, where: string) => void;
}

/**
 * Does it and prints what came of it. As JSON it is the result as it is; with cells one array, and each of its values says which `cell` it
 * is of.
 *
 * @throws what failed in a cell, when the others are done
 */
export async function printEachCell<Result extends object>(each: EachCell<Result>): Promise<void> {
  const connection = { settings: readSettings(process.env), name: each.name, say };
  const work = async (database: Database, cell: string | undefined) => await each.work(database, whereOf(cell));
  await inEachCell(connection, work, (done) => {
    const [first] = done;
    if (each.json !== true) {
      for (const { cell, result } of done) each.tell(result, whereOf(cell));
    } else if (first?.cell === undefined) {
      print(JSON.stringify(first?.result));
    } else {
      const values = done.flatMap(({ cell, result }) =>
        [result].flat().map((value) => ({ cell, ...(value as object) })),
      );
      print(JSON.stringify(values));
    }
  });
}

function whereOf(cell: string | undefined): string {
  return cell === undefined ? "" : ` in cell ${cell}`;
}
