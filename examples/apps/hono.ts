/**
 * Hono: Inturn's API and dashboard are a part of the app, behind the app's own check of who comes.
 *
 *   npm install inturn hono @hono/node-server
 *   DATABASE_URL=postgres://… ADMIN_PASSWORD=… node hono.ts
 *   curl --user admin:… http://127.0.0.1:3000/inturn/v1/events -H 'content-type: application/json' -d '{"accountId": "a1", "data": 1}'
 */
import { once } from "node:events";
import { serve } from "@hono/node-server";
import { Hono } from "hono";
import { basicAuth } from "hono/basic-auth";
import { createInturn } from "inturn";

const handled: string[] = [];
const inturn = createInturn({
  databaseUrl: process.env["DATABASE_URL"] ?? "postgres://127.0.0.1/app",
  basePath: "/inturn",
  // The check below stands before everything of Inturn's.
  requireKeys: false,
  handler: (event) => void handled.push(`${event.accountId}/${event.seq}`),
});
await inturn.migrate();
await inturn.startWorker();

const app = new Hono();
app.use("/inturn/*", basicAuth({ username: "admin", password: process.env["ADMIN_PASSWORD"] ?? "change me" }));
app.mount("/inturn", inturn.app.fetch);
app.get("/handled", (c) => c.json(handled));

const server = serve(
  { fetch: app.fetch, port: Number(process.env["PORT"] ?? 3000), hostname: "127.0.0.1" },
  ({ port }) => console.log(`listening on port ${port}`),
);

await once(process, "SIGTERM");
server.close();
await inturn.stop();
