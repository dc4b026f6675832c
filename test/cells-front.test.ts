/**
 * A server in front of three cells: every event comes to its cell, in its order; a cell that is away concerns nobody else.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { cellsOf } from "../src/config/cell-settings.ts";
import { readSettings } from "../src/config/settings.ts";
import { runLoad } from "../src/demo/load.ts";
import { bucketOf, cellOf } from "../src/engine/bucket.ts";
import { createLog } from "../src/log/log.ts";
import { startFront } from "../src/service/front.ts";
import type { Listening } from "../src/service/listening.ts";
import { type CellName, cellsSetting, idsIn, MAP, NAMES, withCells } from "./support/cells.ts";
import { withDatabase } from "./support/database.ts";
import { killLeftovers, runProcess, startProcess } from "./support/process.ts";
import { scrape, valuesOf } from "./support/prometheus.ts";
import { until } from "./support/until.ts";

type Answer = { status: number; body: Record<string, unknown> };

async function withFront(setting: string, work: (url: string) => Promise<void>): Promise<void> {
  const settings = readSettings({ INTURN_CELLS: setting }, { port: 0 });
  const cells = cellsOf(settings) ?? [];
  const front: Listening = await startFront({ settings, cells, log: createLog({ level: "silent", name: "test" }) });
  try {
    await work(front.url);
  } finally {
    await front.close();
  }
}

async function post(url: string, body: unknown, query = ""): Promise<Answer> {
  const response = await fetch(`${url}/v1/events${query}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

async function get(address: string): Promise<Answer> {
  const response = await fetch(address);
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

/** Stands before a database; away until it is opened. */
async function createLink(url: string): Promise<{ url: string; open(): Promise<void>; close(): Promise<void> }> {
  const { hostname, port } = new URL(url);
  const sockets = new Set<import("node:net").Socket>();
  const server = createServer((socket) => {
    const onward = connect(Number(port), hostname);
    for (const [from, to] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      sockets.add(from);
      from.pipe(to);
      from.on("error", () => to.destroy()).on("close", () => sockets.delete(from));
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address() as { port: number };
  const link = new URL(url);
  link.hostname = "127.0.0.1";
  link.port = String(address.port);
  const close = async () => {
    for (const socket of sockets) socket.destroy();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  };
  await close();
  return {
    url: link.href,
    close,
    open: async () => {
      server.listen(address.port, "127.0.0.1");
      await once(server, "listening");
    },
  };
}

test(
  "events sent to all are handled by the workers of their cells, each account's in order",
  withCells(
    async (cells) => {
      const environment = { INTURN_CELLS: cellsSetting(cells) };
      const made = await runProcess(["cells", "init", "--json"], environment);
      assert.deepEqual([made.code, made.stdout.trim()], [0, '{"cells":3,"made":3}'], made.stderr);
      assert.equal((await runProcess(["cells", "init", "--json"], environment)).stdout.trim(), '{"cells":3,"made":0}');
      const front = startProcess(["serve", "--port", "0"], environment);
      const workers = NAMES.map((name) =>
        startProcess(["work", "--handler", "sleep"], { ...environment, INTURN_CELL: name, INTURN_HANDLER_MS: "1" }),
      );
      try {
        const { url = "" } = await front.ready;
        await Promise.all(workers.map((worker) => worker.ready));
        await runLoad({ url, events: 3_000, accounts: 200, seed: 1, connections: 4, batch: 50 });
        for (const [name, cell] of Object.entries(cells)) {
          await until(`cell ${name} is done`, async () => {
            const rows = await cell.query<{ pending: number }>(
              "select sum(last_seq - processed_seq)::int as pending from inturn.accounts",
            );
            return rows[0]?.pending === 0;
          });
          const accounts = await cell.query<{ id: string }>("select id from inturn.accounts");
          assert.deepEqual(new Set(accounts.map(({ id }) => cellOf(MAP, id))), new Set([name]));
          const verified = await runProcess(["verify", "--json"], { ...environment, INTURN_CELL: name });
          assert.equal(verified.code, 0, verified.stdout);
        }
        const listed = await runProcess(["cells", "list", "--json"], environment);
        assert.equal(listed.code, 0);
        const stored = await Promise.all(
          NAMES.map(
            async (name) =>
              (await cells[name].query<{ n: number }>("select count(*)::int as n from inturn.events"))[0]?.n ?? 0,
          ),
        );
        assert.equal(
          stored.reduce((sum, count) => sum + count, 0),
          3_000,
        );
        assert.ok(Math.min(...stored) > 700, stored.join());
      } finally {
        await Promise.all([front, ...workers].map((process) => process.stop()));
        killLeftovers();
      }
    },
    { made: false },
  ),
);

test(
  "one worker process works for all cells, and while one is away for the others; one that does not fit ends it",
  withCells(async (cells) => {
    const settled = async (name: CellName) => {
      const [row] = await cells[name].query("select count(*)::int as n from inturn.events where outcome is not null");
      return row?.["n"];
    };
    const append = async (name: CellName) => {
      const ids = idsIn(name, 20).flatMap((id) => [id, id]);
      await cells[name].query("select inturn.append_events($1, $2::json[])", [ids, ids.map(() => "1")]);
    };
    const work = (all: Record<string, { readonly url: string }>) =>
      startProcess(["work", "--handler", "sleep", "--handler-ms", "1"], {
        INTURN_CELLS: cellsSetting(all),
        INTURN_CELL: "",
        INTURN_METRICS_PORT: "0",
      });
    for (const name of NAMES) await append(name);
    const away = work({ a: { url: "postgres://127.0.0.1:1/none" }, b: cells.b, c: cells.c });
    const { url: metricsUrl = "" } = await away.ready;
    for (const name of ["b", "c"] as const) await until(`${name} is done`, async () => (await settled(name)) === 40);
    assert.equal((await fetch(`${metricsUrl}/livez`)).status, 200);
    assert.equal(await away.stop(), 0, away.output.stderr);
    assert.equal(await settled("a"), 0);
    const worker = work(cells);
    await worker.ready;
    await until("a is done", async () => (await settled("a")) === 40);
    assert.equal(await worker.stop(), 0, worker.output.stderr);
    for (const name of NAMES) assert.deepEqual(await cells[name].query("select from inturn.workers"), []);
    await cells.c.query("drop schema inturn cascade");
    const unfit = work(cells);
    assert.equal(await unfit.ended, 1);
    assert.match(unfit.output.stderr, /\[database_not_migrated\]/);
  }),
);

test(
  "what concerns an account is answered by its cell; everything else is asked of one cell, which is whole under its path",
  withCells(async (cells) => {
    const [accountId = ""] = idsIn("b", 1);
    await withFront(cellsSetting(cells), async (url) => {
      assert.deepEqual(await post(url, { accountId, data: { n: 1 } }), {
        status: 202,
        body: { accountId, seq: 1, duplicate: false },
      });
      assert.equal((await get(`${url}/v1/accounts/${accountId}`)).body["pending"], 1);
      assert.equal((await get(`${url}/v1/accounts/${accountId}/events/1`)).body["state"], "pending");
      const paused = await fetch(`${url}/v1/accounts/${accountId}/pause`, { method: "POST" });
      assert.equal(paused.status, 200);
      assert.equal((await get(`${url}/cells/b/v1/accounts/${accountId}`)).body["state"], "paused");
      // Asked at the wrong cell it does not exist.
      assert.equal((await get(`${url}/cells/a/v1/accounts/${accountId}`)).body["code"], "account_not_found");
      const listed = (await get(`${url}/cells/b/v1/accounts`)).body["accounts"] as { accountId: string }[];
      assert.deepEqual(
        listed.map((account) => account.accountId),
        [accountId],
      );
      assert.deepEqual((await get(`${url}/cells/a/v1/accounts`)).body["accounts"], []);
      const wrong = await fetch(`${url}/cells/a/v1/events`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ accountId, data: 1 }),
      });
      assert.equal(wrong.status, 421);
      const problem = (await wrong.json()) as Record<string, unknown>;
      assert.deepEqual([problem["code"], problem["cell"]], ["wrong_cell", "b"]);
      for (const path of ["/v1/pauses/1", "/cells/nobody", "/cells/nobody/v1/accounts", "/nothing"]) {
        const { status, body } = await get(url + path);
        assert.deepEqual([status, body["code"]], [404, "cell_needed"], path);
      }
      assert.deepEqual((await get(`${url}/readyz`)).body, {
        status: "ready",
        cells: { a: "ready", b: "ready", c: "ready" },
      });
      assert.equal((await get(`${url}/openapi.json`)).status, 200);
      assert.match(
        await (await fetch(`${url}/metrics`)).text(),
        /inturn_requests_refused_total\{code="cell_needed"\} 4/,
      );
      assert.match(await (await fetch(`${url}/cells/b/metrics`)).text(), /^inturn_backlog_events\{cell="b"\} \d/m);
      const page = await (await fetch(`${url}/`)).text();
      assert.match(page, /href="\/cells\/b\/"/);
      assert.match(await (await fetch(`${url}/cells/b`)).text(), /<a class="within" href="\/"[^>]*>Cell b<\/a>/);
      assert.match(await (await fetch(`${url}/cells/b/accounts`)).text(), new RegExp(`/cells/b/accounts/${accountId}`));
    });
  }),
);

test(
  "metrics of all cells are told by one server, of however many processes, each with its cell",
  withCells(async (cells) => {
    const away = { ...cells, c: { url: "postgres://127.0.0.1:1/none" } };
    for (const processes of ["1", "2"]) {
      const environment = { INTURN_CELLS: cellsSetting(away), INTURN_API_PROCESSES: processes };
      const front = startProcess(["serve", "--port", "0"], environment);
      const { url = "" } = await front.ready;
      for (const cell of ["a", "b", "b"] as const)
        assert.equal((await post(url, { accountId: idsIn(cell, 1)[0], data: 1 })).status, 202);
      const found = await until("the readings are of now", async () => {
        const families = await scrape(url);
        const backlog = valuesOf(families, "inturn_backlog_events");
        return backlog["a"] === Number(processes) && backlog["b"] === 2 * Number(processes) && families;
      });
      const sums: Record<string, number> = {};
      for (const { labels = {}, value } of found.get("inturn_events_accepted_total")?.metrics ?? [])
        if (labels["duplicate"] === "false")
          sums[labels["cell"] ?? "none"] = (sums[labels["cell"] ?? "none"] ?? 0) + Number(value);
      assert.deepEqual(sums, { none: 0, a: 1, b: 2, c: 0 });
      const up = (found.get("inturn_cell_up")?.metrics ?? []).map(({ labels, value }) => [labels?.["cell"], value]);
      assert.deepEqual(
        new Map(up as [string, string][]),
        new Map([
          ["a", "1"],
          ["b", "1"],
          ["c", "0"],
        ]),
      );
      assert.equal(await front.stop(), 0, front.output.stderr);
    }
  }),
);

test(
  "a server finds an account at once that was moved a moment ago",
  withCells(async (cells) => {
    const [accountId = ""] = idsIn("a", 1);
    await withFront(cellsSetting(cells), async (url) => {
      await post(url, { accountId, data: 1 });
      for (const [round, to] of ["b", "c", "a"].entries()) {
        const args = ["cells", "move", "--bucket", String(bucketOf(accountId)), "--to", to];
        const { code, stderr } = await runProcess(args, { INTURN_CELLS: cellsSetting(cells) });
        assert.equal(code, 0, stderr);
        const read = () => get(`${url}/v1/accounts/${accountId}/events/1`);
        const append = () => post(url, { accountId, data: 1 });
        // Either may be the first that comes with the old map.
        const [stored, found] =
          round % 2 === 0 ? [await append(), await read()] : [await read(), await append()].toReversed();
        assert.deepEqual([stored?.status, stored?.body["seq"], found?.status], [202, round + 2, 200], to);
      }
    });
  }),
);

test(
  "a cell that is away concerns its own accounts only, before it was ever there and after",
  withCells(async (cells) => {
    const link = await createLink(cells.c.url);
    const [[here = ""], [away = ""]] = [idsIn("a", 1), idsIn("c", 1)];
    try {
      await withFront(cellsSetting({ ...cells, c: link }), async (url) => {
        for (const round of [1, 2]) {
          const ids = { here: `here-${round}`, away: `away-${round}` };
          const both = [
            { accountId: here, id: ids.here, data: round },
            { accountId: away, id: ids.away, data: round },
          ];
          const alone = await post(url, both[1]);
          assert.deepEqual([alone.status, alone.body["code"]], [503, "database_unavailable"]);
          const inPart = await post(url, both);
          assert.deepEqual([inPart.status, inPart.body["code"]], [503, "stored_in_part"], JSON.stringify(inPart.body));
          const [stored, waits] = inPart.body["events"] as Record<string, unknown>[];
          assert.deepEqual(stored, { accountId: here, seq: 2 * round - 1, duplicate: false });
          assert.deepEqual([waits?.["accountId"], waits?.["code"]], [away, "database_unavailable"]);
          const whole = await post(url, both, "?atomic=true");
          assert.deepEqual([whole.status, whole.body["code"]], [422, "batch_over_cells"]);
          const lines = await fetch(`${url}/v1/events`, {
            method: "POST",
            headers: { "content-type": "application/x-ndjson" },
            body: both.map((event) => JSON.stringify(event)).join("\n"),
          });
          const answers = (await lines.text())
            .trim()
            .split("\n")
            .map((line) => JSON.parse(line) as Record<string, unknown>);
          assert.deepEqual(answers[0], { line: 1, accountId: here, seq: 2 * round - 1, duplicate: true });
          assert.deepEqual([answers[1]?.["line"], answers[1]?.["status"]], [2, 503]);
          assert.equal((await get(`${url}/readyz`)).body["status"], "ready");
          const page = await (await fetch(`${url}/`)).text();
          assert.match(page, /away: its accounts wait/);
          await link.open();
          await until("it is back", async () => (await post(url, both)).status === 202);
          const again = await post(url, both);
          assert.deepEqual(
            (again.body["events"] as { duplicate: boolean }[]).map(({ duplicate }) => duplicate),
            [true, true],
          );
          assert.equal((await post(url, { accountId: here, data: 0 })).status, 202);
          await link.close();
        }
      });
      assert.deepEqual(await cells.c.query("select event_id from inturn.events order by seq"), [
        { event_id: "away-1" },
        { event_id: "away-2" },
      ]);
    } finally {
      await link.close();
    }
  }),
);

test(
  "what one cell refuses for good is told with what the others have stored",
  withCells(async (cells) => {
    const [[first = ""], [second = ""]] = [idsIn("a", 1), idsIn("b", 1)];
    await withFront(cellsSetting(cells), async (url) => {
      await post(url, { accountId: second, id: "i", data: 1 });
      const batch = [
        { accountId: first, data: 1 },
        { accountId: second, id: "i", data: 2 },
        { accountId: first, data: 2 },
      ];
      const { status, body } = await post(url, batch);
      assert.deepEqual([status, body["code"]], [409, "refused_in_part"]);
      const outcomes = body["events"] as Record<string, unknown>[];
      assert.deepEqual(
        outcomes.map((outcome) => outcome["seq"] ?? outcome["code"]),
        [1, "event_id_reused", 2],
      );
      const [error] = body["errors"] as { pointer: string }[];
      assert.equal(error?.pointer, "/1");
      // All of them refused: as in one database.
      const none = await post(url, [batch[1], { accountId: second, id: "i", data: 3 }]);
      assert.deepEqual([none.status, none.body["code"]], [409, "event_id_reused"]);
    });
  }),
);

test(
  "lists over all cells are those of one database, page by page, whatever their size and order",
  withCells(async (cells) => {
    const ids = ["é", "~", "🦊", "ZZ", ...Array.from({ length: 36 }, (_, i) => `account-${i}`)];
    for (const [i, id] of ids.entries()) {
      const cell = cells[cellOf(MAP, id) as "a"];
      const counts = Array.from({ length: 1 + (i % 4) }, () => id);
      await cell.query("select inturn.append_events($1, $2::json[], $3)", [
        counts,
        counts.map(() => "1"),
        counts.map((_, n) => (n % 2 === 0 ? "even" : "odd")),
      ]);
    }
    const sorted = ids.toSorted((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
    const countOf = (id: string) => 1 + (ids.indexOf(id) % 4);
    await withFront(cellsSetting(cells), async (url) => {
      const readAll = async (path: string, key: string, limit: number) => {
        const rows: Record<string, unknown>[] = [];
        for (let cursor: string | null = ""; cursor !== null; ) {
          const { status, body } = await get(`${url}${path}&limit=${limit}${cursor === "" ? "" : `&cursor=${cursor}`}`);
          assert.equal(status, 200, JSON.stringify(body));
          const page = body[key] as Record<string, unknown>[];
          assert.ok(page.length <= limit);
          rows.push(...page);
          cursor = body["next"] as string | null;
        }
        return rows;
      };
      for (const limit of [1, 7, 40, 100]) {
        const byId = await readAll("/v1/accounts?sort=id", "accounts", limit);
        assert.deepEqual(
          byId.map((account) => account["accountId"]),
          sorted,
          `${limit}`,
        );
        const byPending = await readAll("/v1/accounts?sort=pending", "accounts", limit);
        assert.deepEqual(
          byPending.map((account) => account["accountId"]),
          sorted.toSorted((one, other) => countOf(other) - countOf(one)),
        );
        const events = await readAll("/v1/events?type=odd", "events", limit);
        assert.deepEqual(
          events.map((event) => [event["accountId"], event["seq"]]),
          sorted.flatMap((id) => [2, 4].filter((seq) => seq <= countOf(id)).map((seq) => [id, seq])),
        );
      }
      assert.equal((await get(`${url}/v1/accounts?limit=0`)).body["code"], "query_invalid");
    });
    const link = await createLink(cells.b.url);
    await withFront(cellsSetting({ ...cells, b: link }), async (url) => {
      const { status, body } = await get(`${url}/v1/accounts`);
      assert.equal(status, 503);
      assert.match(String(body["detail"]), /and b cannot be asked/);
    });
    await link.close();
  }),
);

test(
  "the results of all cells are one file, in one order, or an error while a cell is away",
  withCells(async (cells) => {
    const ids = Array.from({ length: 6_000 }, (_, i) => `${i % 7 === 0 ? "é" : "x"}-${(i * 7_919) % 6_000}`);
    for (const name of NAMES) {
      // More of one than of the others.
      const own = ids.filter((id) => cellOf(MAP, id) === name).slice(0, { a: 2_000, b: 1_500, c: 10 }[name]);
      await cells[name].query("select inturn.append_events($1, $2::json[])", [own, own.map(() => "1")]);
    }
    const stored = await Promise.all(
      NAMES.map((name) => cells[name].query<{ id: string }>("select id from inturn.accounts")),
    );
    const all = stored.flat().map(({ id }) => id);
    const sorted = all.toSorted((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
    await withFront(cellsSetting(cells), async (url) => {
      const csv = await (await fetch(`${url}/results.csv`)).text();
      const rows = csv.trim().split("\n").slice(1);
      assert.deepEqual(
        rows.map((row) => row.split(",")[0]),
        sorted,
      );
      const json = (await (await fetch(`${url}/results.json`)).json()) as { account_id: string }[];
      assert.deepEqual(
        json.map((account) => account.account_id),
        sorted,
      );
      assert.match(await (await fetch(`${url}/`)).text(), /href="\/results\.csv"/);
    });
    const away = { ...cells, b: { url: "postgres://127.0.0.1:1/none" } };
    await withFront(cellsSetting(away), async (url) => {
      assert.equal((await fetch(`${url}/results.csv`)).status, 503);
    });
    for (const name of NAMES) await cells[name].query("truncate inturn.accounts, inturn.events cascade");
    await withFront(cellsSetting(cells), async (url) => {
      assert.deepEqual(await (await fetch(`${url}/results.json`)).json(), []);
    });
  }),
);

test(
  "a hub has the rows of all cells in its views",
  withCells(async (cells) => {
    for (const name of NAMES) {
      const ids = idsIn(name, 3);
      await cells[name].query("select inturn.append_events($1, $2::json[])", [ids, ids.map(() => "1")]);
    }
    const { code, stdout, stderr } = await runProcess(["cells", "hub"], { INTURN_CELLS: cellsSetting(cells) });
    assert.equal(code, 0, stderr);
    await withDatabase(async (hub) => {
      for (let round = 0; round < 2; round += 1) await hub.query(stdout);
      const rows = await hub.query<{ cell: string; ids: string[] }>(
        "select cell, array_agg(account_id order by account_id) as ids from inturn_hub.event_results where state = 'pending' group by 1 order by 1",
      );
      assert.deepEqual(
        rows,
        NAMES.map((cell) => ({ cell, ids: idsIn(cell, 3).toSorted() })),
      );
      const counts = await hub.query<{ n: number }>("select sum(accounts)::int as n from inturn_hub.run_summary");
      assert.deepEqual(counts, [{ n: 9 }]);
    })();
  }),
);

test(
  "a key that is made is good for every cell, and a revoked one for none",
  withCells(async (cells) => {
    const environment = { INTURN_CELLS: cellsSetting(cells) };
    const { stdout, stderr } = await runProcess(["keys", "create", "--name", "me", "--json"], environment);
    const { id, key } = JSON.parse(stdout || `{"id":"${stderr}","key":""}`) as { id: string; key: string };
    for (const name of NAMES)
      assert.deepEqual(await cells[name].query("select id from inturn.api_keys"), [{ id }], stderr);
    await withFront(cellsSetting(cells), async (url) => {
      const ask = (address: string) => fetch(address, { headers: { authorization: `Bearer ${key}` } });
      assert.equal((await fetch(`${url}/metrics`)).status, 401);
      assert.equal((await ask(`${url}/metrics`)).status, 200);
      assert.equal((await ask(`${url}/cells/c/v1/accounts`)).status, 200);
      await runProcess(["keys", "revoke", id], environment);
      for (const path of ["/metrics", "/cells/c/v1/accounts"])
        await until(`${path} is refused`, async () => (await ask(url + path)).status === 401);
    });
  }),
);

test(
  "a new cell gets the keys and sources that there are; where they differ it is said, and repaired by those of one cell",
  withCells(
    async (cells) => {
      const run = async (of: Record<string, { readonly url: string }>, ...args: string[]) => {
        const done = await runProcess([...args, "--json"], { INTURN_CELLS: cellsSetting(of) });
        return { ...done, said: JSON.parse(done.stdout || "null") as unknown };
      };
      const keysOf = async (name: CellName) =>
        await cells[name].query("select to_jsonb(k) - 'created_at' as k from inturn.api_keys as k order by id");
      const sourcesOf = async (name: CellName) =>
        await cells[name].query("select name, secrets from inturn.sources order by name");
      const { a, b } = cells;
      await run({ a, b }, "cells", "init");
      await run({ a, b }, "keys", "create", "--name", "me", "--scope", "read", "--account-prefix", 'é"');
      const revoked = (await run({ a, b }, "keys", "create", "--name", "you")).said as { id: string };
      await run({ a, b }, "keys", "revoke", revoked.id);
      const source = await run({ a, b }, "sources", "create", "shop", "--account", "/customer");
      assert.equal(source.code, 0, source.stderr);
      // In neither cell at the same time, and still the same.
      assert.equal((await run({ a, b }, "cells", "list")).code, 0);
      assert.deepEqual((await run(cells, "cells", "init")).said, { cells: 3, made: 1 });
      assert.deepEqual(await keysOf("c"), await keysOf("a"));
      assert.deepEqual(await sourcesOf("c"), await sourcesOf("a"));
      assert.equal((await run(cells, "cells", "list")).code, 0);
      // As a backup of before leaves it.
      await b.query("update inturn.api_keys set revoked_at = null");
      await b.query("delete from inturn.sources");
      const listed = await run(cells, "cells", "list");
      const states = (listed.said as { state: string; problem: string | null }[]).map(({ state }) => state);
      assert.deepEqual([listed.code, states], [1, ["ready", "cells_differ", "ready"]]);
      assert.match(listed.stdout, /keys or sources are others than those of a.*cells -- repair --from/);
      // An init does not decide which are right.
      assert.deepEqual((await run(cells, "cells", "init")).said, { cells: 3, made: 0 });
      assert.deepEqual(await sourcesOf("b"), []);
      assert.deepEqual((await run(cells, "cells", "repair", "--from", "a")).said, { repaired: ["b"] });
      assert.deepEqual(await keysOf("b"), await keysOf("a"));
      assert.deepEqual(await sourcesOf("b"), await sourcesOf("a"));
      assert.equal((await keysOf("b")).length, 2);
      assert.deepEqual((await run(cells, "cells", "repair", "--from", "c")).said, { repaired: [] });
      const nobody = await run(cells, "cells", "repair", "--from", "d");
      assert.match(nobody.stderr, /no cell d.*\[settings_invalid\]/s);
    },
    { made: false },
  ),
);

test(
  "pauses and targets are made in every cell that answers, and listed with their cells; a command about an account finds its cell",
  withCells(async (cells) => {
    const environment = { INTURN_CELLS: cellsSetting(cells) };
    const run = async (...args: string[]) => await runProcess([...args, "--json"], environment);
    const toldOf = (entries: unknown) => (entries as { cell: string }[]).map(({ cell }) => cell);
    const begun = await run("pause", "--all", "--why", "the shop is away");
    assert.deepEqual([toldOf(JSON.parse(begun.stdout)), begun.code], [["a", "b", "c"], 0], begun.stderr);
    const opened = await run("target", "open", "shop");
    assert.deepEqual(toldOf(JSON.parse(opened.stdout)), ["a", "b", "c"], opened.stderr);
    const [accountId = ""] = idsIn("b", 1);
    await cells.b.query("select inturn.append_event($1, '1')", [accountId]);
    const retried = await run("pause", accountId);
    assert.equal(retried.code, 0, retried.stderr);
    const [account] = await cells.b.query("select paused_at is not null as paused from inturn.accounts");
    assert.deepEqual(account, { paused: true });
    await withFront(cellsSetting(cells), async (url) => {
      for (const list of ["pauses", "targets"])
        assert.deepEqual(toldOf((await get(`${url}/v1/${list}`)).body[list]), ["a", "b", "c"]);
      assert.deepEqual((await get(`${url}/v1/operations`)).body["operations"], []);
      const posted = await fetch(`${url}/v1/pauses`, { method: "POST", body: '{"all":true}' });
      assert.equal(((await posted.json()) as { code: string }).code, "cell_needed");
    });
    const begunEach = await run("skip", "--prefix", accountId, "--detach");
    const operations = JSON.parse(begunEach.stdout) as { cell: string; verb: string; matched: number }[];
    assert.deepEqual(
      operations.map(({ cell, verb, matched }) => [cell, verb, matched]),
      NAMES.map((cell) => [cell, "skip", cell === "b" ? 1 : 0]),
      begunEach.stderr,
    );
    const running = await run("operation", "list");
    assert.deepEqual(toldOf(JSON.parse(running.stdout)), NAMES, running.stdout);
    // A cell that is away keeps nobody from the others, and is told of.
    const away = { ...cells, b: { url: "postgres://127.0.0.1:1/none" } };
    const resumed = await runProcess(["resume", "--all", "--json"], { INTURN_CELLS: cellsSetting(away) });
    assert.deepEqual([toldOf(JSON.parse(resumed.stdout)), resumed.code], [["a", "c"], 1]);
    assert.match(resumed.stderr, /Cell b: .*\[database_unavailable\]/s);
    const found = await runProcess(["retry", accountId], { INTURN_CELLS: cellsSetting(away) });
    assert.match(found.stderr, /database_unavailable/);
    const listed = await runProcess(["pause", "--list"], environment);
    assert.match(listed.stdout, /Nothing is paused in cell a.*\nPaused in cell b:\n/);
    const missing = await run("resume", "--type", "none");
    assert.match(missing.stderr, /Cell a: .*\[pause_not_found\]/s);
  }),
);

test(
  "cells that do not fit are refused at the start, and said what is wrong with them",
  withCells(async (cells) => {
    const serve = async (setting: string) => {
      const { code, stderr } = await runProcess(["serve", "--port", "0"], { INTURN_CELLS: setting });
      assert.equal(code, 1);
      return stderr;
    };
    const swapped = { a: cells.b, b: cells.a, c: cells.c };
    assert.match(await serve(cellsSetting(swapped)), /calls itself.*\[cells_differ\]/s);
    assert.match(await serve(cellsSetting({ a: cells.a, b: cells.b })), /cell c too.*\[cells_differ\]/s);
    const listed = await runProcess(["cells", "list"], { INTURN_CELLS: cellsSetting(swapped) });
    assert.equal(listed.code, 1);
    assert.match(listed.stdout, /cells_differ/);
    const init = await runProcess(["cells", "init"], { INTURN_CELLS: cellsSetting({ ...cells, d: cells.a }) });
    assert.match(init.stderr, /two cells have one database.*\[settings_invalid\]/s);
    const status = await runProcess(["status"], { INTURN_CELLS: cellsSetting(cells) });
    assert.match(status.stderr, /INTURN_CELL.*\[settings_invalid\]/s);
    const both = await runProcess(["serve"], { INTURN_CELLS: cellsSetting(cells), DATABASE_URL: cells.a.url });
    assert.match(both.stderr, /Of DATABASE_URL and INTURN_CELLS set one.*\[settings_invalid\]/s);
  }),
);

test("the demo runs over cells, each with a server of its own", async () => {
  const data = await mkdtemp(join(tmpdir(), "inturn-cells-"));
  try {
    const args = [
      "demo",
      "--cells",
      "2",
      "--events",
      "300",
      "--accounts",
      "30",
      "--handler-ms",
      "1",
      "--workers",
      "1",
      "--json",
    ];
    const { code, stdout, stderr } = await runProcess(args, { INTURN_DATA: data });
    assert.equal(code, 0, stderr);
    const { processed, lost, duplicates, orderViolations } = JSON.parse(stdout) as Record<string, number>;
    assert.deepEqual([processed, lost, duplicates, orderViolations], [300, 0, 0, 0]);
    const refused = await runProcess(["demo", "--cells", "2"], { INTURN_DATA: data, DATABASE_URL: "postgres://x" });
    assert.match(refused.stderr, /unset DATABASE_URL.*\[settings_invalid\]/s);
  } finally {
    await rm(data, { recursive: true, force: true });
  }
});

test(
  "of databases that become cells one may have accounts: it keeps them all until they are moved",
  withCells(
    async (cells) => {
      const [accountId] = idsIn("c", 1);
      for (const name of ["a", "b"] as const)
        await cells[name].query("select inturn.append_event($1, '1')", [accountId]);
      const environment = { INTURN_CELLS: cellsSetting(cells) };
      const init = await runProcess(["cells", "init"], environment);
      assert.equal(init.code, 1);
      assert.match(init.stderr, /cell b has accounts.*\[cells_not_empty\]/s);
      for (const name of NAMES) assert.deepEqual(await cells[name].query("select from inturn.buckets"), []);
      await cells.b.query("select inturn.erase($1)", [accountId]);
      assert.equal((await runProcess(["cells", "init"], environment)).code, 0);
      const list = async () => {
        const { stdout } = await runProcess(["cells", "list", "--json"], environment);
        return (JSON.parse(stdout) as { buckets: number }[]).map(({ buckets }) => buckets);
      };
      assert.deepEqual(await list(), [256, 0, 0]);
      const planned = await runProcess(["cells", "balance", "--dry-run", "--json"], environment);
      assert.equal((JSON.parse(planned.stdout) as { planned: unknown[] }).planned.length, 170);
      const balanced = await runProcess(["cells", "balance", "--json"], environment);
      assert.equal(balanced.code, 0, balanced.stderr);
      assert.deepEqual(await list(), [86, 85, 85]);
      const drained = await runProcess(["cells", "drain", "a", "--json"], environment);
      assert.equal(drained.code, 0, drained.stderr);
      assert.deepEqual(await list(), [0, 128, 128]);
      assert.deepEqual(await cells.a.query("select from inturn.events"), []);
    },
    { made: false },
  ),
);
