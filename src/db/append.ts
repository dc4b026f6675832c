import type { Appended, NewEvent } from "../domain/event.ts";
import type { Database } from "./pool.ts";

const APPEND = {
  name: "inturn_append",
  text: `
    select account_id as "accountId", seq, duplicate
    from inturn.append_events($1::text[], $2::json[], $3::text[], $4::text[], $5::timestamptz[])`,
};

/**
 * Stores these events, all or none, in one transaction; answers in their order once it is committed.
 */
export async function appendEvents(database: Database, events: readonly NewEvent[]): Promise<Appended[]> {
  const column = <Key extends keyof NewEvent>(key: Key) => events.map((event) => event[key]);
  const values = [column("accountId"), column("data"), column("type"), column("id"), column("occurredAt")];
  return (await database.query<Appended>({ ...APPEND, values })).rows;
}
