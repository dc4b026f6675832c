/**
 * What keeps the embedded server running: every command that uses it holds a shared advisory lock, in a session of its own.
 */
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";

/** Held shared by every command that uses the server. The number is arbitrary and only ours. */
const USERS_LOCK = 4_917_238_003;

/** Between two tries to take the lock anew. */
const RETRY_MS = 250;

/** After a crash every user has taken its share anew within this time: before, none of them can be called the last. */
const RETAKEN_MS = 2_000;

/** One command's share in the server. After a crash PostgreSQL recovers under the same process, without our lock: it is taken anew. */
export class ServerShare {
  readonly #url: string;
  readonly #isRunning: () => Promise<boolean>;
  #client: pg.Client | undefined;
  #retaking: Promise<void> | undefined;
  #isReleased = false;
  /** From this time of the process on, who else holds a share is known. */
  #isTellingMs = 0;

  private constructor(url: string, isRunning: () => Promise<boolean>) {
    this.#url = url;
    this.#isRunning = isRunning;
  }

  /**
   * Takes a share. Rejects when the server does not answer.
   *
   * @param isRunning whether the server's process lives, also when it does not answer
   */
  static async take(url: string, isRunning: () => Promise<boolean>): Promise<ServerShare> {
    const share = new ServerShare(url, isRunning);
    await share.#hold();
    return share;
  }

  /** Makes a database unless it is there. */
  async ensureDatabase(name: string): Promise<void> {
    const found = await this.#client?.query("select from pg_database where datname = $1", [name]);
    if (found?.rowCount === 0) await this.#client?.query(`create database ${name}`);
  }

  /** Gives the share back. Whether it was the last one of a server that still runs. */
  async release(): Promise<boolean> {
    while (true) {
      await this.#retaking;
      const client = this.#client;
      if (client === undefined) return false;
      await sleep(Math.max(0, this.#isTellingMs - performance.now()));
      try {
        await client.query("select pg_advisory_unlock_shared($1)", [USERS_LOCK]);
        const { rows } = await client.query<{ last: boolean }>("select pg_try_advisory_lock($1) as last", [USERS_LOCK]);
        this.#isReleased = true;
        return rows[0]?.last === true;
      } catch {
        // The server crashed in this very moment. The share is taken anew when the session has ended, and given back then.
      } finally {
        await client.end().catch(() => undefined);
      }
    }
  }

  async #hold(): Promise<void> {
    const client = new pg.Client({ connectionString: this.#url, application_name: "inturn user" });
    client.on("error", () => undefined);
    try {
      await client.connect();
      await client.query("select pg_advisory_lock_shared($1)", [USERS_LOCK]);
    } catch (error) {
      await client.end().catch(() => undefined);
      throw error;
    }
    client.on("end", () => {
      this.#client = undefined;
      if (!this.#isReleased) this.#retaking ??= this.#retake().finally(() => (this.#retaking = undefined));
    });
    this.#client = client;
  }

  async #retake(): Promise<void> {
    while (await this.#isRunning()) {
      try {
        await this.#hold();
        this.#isTellingMs = performance.now() + RETAKEN_MS;
        return;
      } catch {
        await sleep(RETRY_MS);
      }
    }
  }
}
