/**
 * Express and pg: an order and the event that tells of it are one transaction. The handler adds it to the customer's total in another
 * one, which also settles the event: no order is counted twice, and none is forgotten.
 *
 *   npm install inturn express pg
 *   DATABASE_URL=postgres://… node express-pg.ts
 *   curl http://127.0.0.1:3000/orders -H 'content-type: application/json' -d '{"customer": "ada", "amount": 12}'
 *   curl http://127.0.0.1:3000/customers/ada
 */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import express from "express";
import { createInturn } from "inturn";
import { Pool } from "pg";

const pool = new Pool({ connectionString: process.env["DATABASE_URL"] });
await pool.query(`
  create table if not exists orders (id bigint generated always as identity primary key, customer text not null, amount numeric not null);
  create table if not exists totals (customer text primary key, orders integer not null, amount numeric not null)`);

const inturn = createInturn({
  pool,
  // Where it is mounted below. It asks for API keys: DATABASE_URL=… npx inturn keys create --name me
  basePath: "/inturn",
  handler: async (event, { transaction }) => {
    const { amount } = event.data as { amount: number };
    await transaction(async (client) => {
      await client.query(
        `insert into totals values ($1, 1, $2)
         on conflict (customer) do update set orders = totals.orders + 1, amount = totals.amount + excluded.amount`,
        [event.accountId, amount],
      );
    });
  },
});
await inturn.migrate();
await inturn.startWorker();

const app = express();
// Before anything that reads bodies: Inturn reads them itself.
app.use("/inturn", inturn.listener);
app.use(express.json());

app.post("/orders", async (request, response) => {
  const { customer, amount } = request.body as { customer: string; amount: number };
  const client = await pool.connect();
  try {
    await client.query("begin");
    const { rows } = await client.query<{ id: string }>(
      "insert into orders (customer, amount) values ($1, $2) returning id",
      [customer, amount],
    );
    const order = { accountId: customer, type: "order.placed", data: { id: rows[0]?.id, amount } };
    await inturn.append([order], { transaction: client });
    await client.query("commit");
    response.status(201).json({ id: rows[0]?.id });
  } catch (error) {
    await client.query("rollback");
    throw error;
  } finally {
    client.release();
  }
});

app.get("/customers/:customer", async (request, response) => {
  const { rows } = await pool.query("select orders, amount from totals where customer = $1", [request.params.customer]);
  response.json(rows[0] ?? { orders: 0, amount: "0" });
});

const server = app.listen(Number(process.env["PORT"] ?? 3000), "127.0.0.1");
await once(server, "listening");
console.log(`listening on port ${(server.address() as AddressInfo).port}`);

await once(process, "SIGTERM");
server.close();
await inturn.stop();
await pool.end();
