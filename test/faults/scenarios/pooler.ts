/** PgBouncer between us and PostgreSQL: workers die and the pooler is restarted. */
import { setTimeout as sleep } from "node:timers/promises";
import { startPgBouncer, WITHOUT_PGBOUNCER } from "../../support/pgbouncer.ts";
import { type Scenario, sendCommonTraffic } from "../scenario.ts";
import { RECOVERY_MS_MAX } from "./database.ts";

const TAKEN_OVER_MS_MAX = 2_000;

/** In either mode; in transaction mode all processes share eight sessions. */
export const pooler: Scenario = {
  name: "pooler",
  fault: 43,
  promise: "through a pooler it goes on as without one, whoever dies, the pooler as well",
  whyNot: async () => (WITHOUT_PGBOUNCER === false ? undefined : WITHOUT_PGBOUNCER),
  async run(bench) {
    const mode = bench.random.oneIn(2) ? ["pool_mode = session", "default_pool_size = 100"] : ["default_pool_size = 8"];
    const lines = mode.length === 1 ? ["pool_mode = transaction", ...mode] : mode;
    const front = await startPgBouncer(bench.server.url(bench.database), lines);
    bench.onClose(() => front.stop());
    const environment = { INTURN_DIRECT_DATABASE_URL: bench.server.url(bench.database), DATABASE_URL: front.url };
    await bench.start({ servers: 1, workers: 3 }, { environment });
    sendCommonTraffic(bench, 6_000);
    await sleep(bench.random.int(500, 1_500));
    const [first] = bench.workers;
    if (first !== undefined) bench.kill(first, TAKEN_OVER_MS_MAX);
    // Without the pooler nobody takes anything over: that is its own fault.
    await sleep(TAKEN_OVER_MS_MAX + bench.random.int(0, 1_000));
    await front.restart(bench.random.int(0, 1_500));
    bench.expectRecovery(RECOVERY_MS_MAX);
  },
};
