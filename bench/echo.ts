/**
 * What the HTTP stack alone can do here: a bare route that parses a body and echoes it.
 */
import { serve } from "@hono/node-server";
import { Hono } from "hono";

const app = new Hono();
app.post("/v1/events", async (c) => c.json(await c.req.json(), 202));

const server = serve({ fetch: app.fetch, hostname: "127.0.0.1", port: 0 }, ({ port }) =>
  process.send?.({ url: `http://127.0.0.1:${port}` }),
);
process.once("disconnect", () => server.close());
