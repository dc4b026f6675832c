import type { Database } from "./pool.ts";

/** A worker process, as the others see it. */
export interface WorkerIdentity {
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  readonly concurrency: number;
}

/**
 * Renews the worker's lease, and with it the lease of every account it runs; the first renewal enters the worker.
 *
 * @returns whether the worker had to be entered: true at a renewal means that its lease had run out
 */
export async function renewWorkerLease(
  database: Database,
  worker: WorkerIdentity,
  leaseMs: number,
): Promise<{ entered: boolean }> {
  const { rows } = await database.query<{ entered: boolean }>({
    name: "inturn_renew_worker_lease",
    text: `
      insert into inturn.workers as w (id, host, pid, concurrency, lease_expires_at)
      values ($1, $2, $3, $4, clock_timestamp() + $5 * interval '1 millisecond')
      on conflict (id) do update set lease_expires_at = excluded.lease_expires_at
      returning xmax = 0 as entered`,
    values: [worker.id, worker.host, worker.pid, worker.concurrency, leaseMs],
  });
  return { entered: rows[0]?.entered ?? true };
}

/** Takes the worker off the list. Accounts it still runs are taken over at the next reconciliation. */
export async function removeWorker(database: Database, workerId: string): Promise<void> {
  await database.query("delete from inturn.workers where id = $1", [workerId]);
}

/** A lease that the database says a worker holds. */
export interface HeldLease {
  readonly accountId: string;
  readonly epoch: number;
}

/** The leases that this worker has held for longer than `heldMs`. */
export async function listHeldLeases(database: Database, workerId: string, heldMs: number): Promise<HeldLease[]> {
  const { rows } = await database.query<HeldLease>({
    name: "inturn_list_held_leases",
    text: `
      select a.id as "accountId", a.epoch from inturn.accounts as a
      where a.state = 'running' and a.lease_worker = $1 and a.state_since < clock_timestamp() - $2 * interval '1 millisecond'`,
    values: [workerId, heldMs],
  });
  return rows;
}
