/**
 * A route of Next.js, or of any framework that gives a `Request` and takes a `Response`: `app/inturn/[...path]/route.ts`. It only
 * stores events; where functions come and go, a worker is a process of its own:
 *
 *   DATABASE_URL=postgres://… npx inturn migrate
 *   DATABASE_URL=postgres://… npx inturn work --handler ./handler.mjs
 *   curl http://127.0.0.1:3000/inturn/v1/events -H "authorization: Bearer $INGEST_KEY" -H 'content-type: application/json' -d '…'
 */
import { createInturn, type Inturn } from "inturn";

// The development server loads the module again and again; the connections are to be opened once.
const shared = globalThis as { inturn?: Inturn };

function inturnOfThisProcess(): Inturn {
  shared.inturn ??= createInturn({
    databaseUrl: process.env["DATABASE_URL"] ?? "postgres://127.0.0.1/app",
    basePath: "/inturn",
    apiKeys: [process.env["INGEST_KEY"] ?? ""],
  });
  return shared.inturn;
}

const handle = async (request: Request): Promise<Response> => await inturnOfThisProcess().app.fetch(request);

export { handle as DELETE, handle as GET, handle as POST };
