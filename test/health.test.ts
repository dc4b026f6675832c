/** `health`, as a container's health check calls it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { withDatabase } from "./support/database.ts";
import { runProcess, startProcess } from "./support/process.ts";
import { until } from "./support/until.ts";

test(
  "health tells whether the API or a worker is ready, and says what it heard",
  withDatabase(async (db) => {
    const common = { DATABASE_URL: db.url, INTURN_HANDLER: "sleep" };
    const api = startProcess(["serve", "--port", "0"], common);
    const worker = startProcess(["work"], { ...common, INTURN_METRICS_PORT: "0" });
    const [atApi, atWorker] = [await api.ready, await worker.ready].map(({ url = "" }) => new URL(url).port);
    const ask = async (flags: string[], environment: Record<string, string | undefined>) =>
      await runProcess(["health", ...flags], environment as Record<string, string>);

    const good = await ask([], { PORT: atApi, HOST: "0.0.0.0" });
    assert.match(good.stdout, /^http:\/\/127\.0\.0\.1:\d+\/readyz: 200 \{/);
    assert.equal(good.code, 0);
    await until(
      "the worker is ready",
      async () => (await ask(["--worker"], { INTURN_METRICS_PORT: atWorker })).code === 0,
    );

    await worker.stop();
    const gone = await ask(["--worker"], { INTURN_METRICS_PORT: atWorker });
    assert.equal(gone.code, 1);
    assert.match(gone.stdout, /readyz: .*ECONNREFUSED/);
    const unknown = await ask(["--worker"], {});
    assert.equal(unknown.code, 2);
    assert.match(unknown.stderr, /INTURN_METRICS_PORT has to say where it listens\. \[settings_invalid\]/);
    await api.stop();
  }),
);
