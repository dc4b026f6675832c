/**
 * Fastify and kysely: readings of devices. A device's readings are handled strictly in their order, a hundred together, so the last one
 * that is kept is the last one that came.
 *
 *   npm install inturn fastify kysely pg
 *   DATABASE_URL=postgres://… node fastify-kysely.ts
 *   curl http://127.0.0.1:3000/devices/boiler/readings -H 'content-type: application/json' -d '[20.5, 21, 21.4]'
 *   curl http://127.0.0.1:3000/devices/boiler
 */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import Fastify from "fastify";
import { createInturn } from "inturn";
import { Kysely, PostgresDialect, sql } from "kysely";
import { Pool } from "pg";

interface Tables {
  devices: { id: string; announced: number };
  latest: { device: string; value: number; readings: number };
}

const pool = new Pool({ connectionString: process.env["DATABASE_URL"] });
const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) });
await sql`create table if not exists devices (id text primary key, announced integer not null)`.execute(db);
await sql`create table if not exists latest (device text primary key, value float8 not null, readings integer not null)`.execute(
  db,
);

const inturn = createInturn({
  pool,
  basePath: "/inturn",
  batch: {
    eventsMax: 100,
    handler: async (events, { transaction }) => {
      const last = events.at(-1) ?? events[0];
      await transaction(async (client) => {
        await client.query(
          `insert into latest values ($1, $2, $3)
           on conflict (device) do update set value = excluded.value, readings = latest.readings + excluded.readings`,
          [last.accountId, last.data, events.length],
        );
      });
    },
  },
});
await inturn.migrate();
await inturn.startWorker();

const app = Fastify();

app.post<{ Params: { device: string }; Body: number[] }>("/devices/:device/readings", async (request, reply) => {
  const { device } = request.params;
  const events = request.body.map((data) => ({ accountId: device, type: "reading", data }));
  const appended = await db.transaction().execute(async (transaction) => {
    await transaction
      .insertInto("devices")
      .values({ id: device, announced: events.length })
      .onConflict((conflict) =>
        conflict.column("id").doUpdateSet({ announced: sql`devices.announced + excluded.announced` }),
      )
      .execute();
    return await inturn.append(events, { transaction });
  });
  return await reply.code(202).send(appended);
});

app.get<{ Params: { device: string } }>("/devices/:device", async (request) => {
  const { device } = request.params;
  return (await db.selectFrom("latest").selectAll().where("device", "=", device).executeTakeFirst()) ?? { device };
});

app.register(async (scope) => {
  // Inturn reads the bodies itself.
  scope.removeAllContentTypeParsers();
  scope.addContentTypeParser("*", (_request, _payload, done) => done(null));
  scope.all("/inturn/*", async (request, reply) => {
    reply.hijack();
    await inturn.listener(request.raw, reply.raw);
  });
});

await app.listen({ port: Number(process.env["PORT"] ?? 3000), host: "127.0.0.1" });
console.log(`listening on port ${(app.server.address() as AddressInfo).port}`);

await once(process, "SIGTERM");
await app.close();
await inturn.stop();
await db.destroy();
