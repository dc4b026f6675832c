/** For the plain tool: `DATABASE_URL=… npx drizzle-kit migrate`. `npm run migrate` does the same and more. */
import { defineConfig } from "drizzle-kit";

export default defineConfig({
  dialect: "postgresql",
  schema: [
    "./src/db/schema.ts",
    "./src/db/target-tables.ts",
    "./src/db/pause-tables.ts",
    "./src/db/operation-tables.ts",
    "./src/db/attempt-table.ts",
    "./src/db/cell-tables.ts",
  ],
  out: "./drizzle",
  // A table of our own: drizzle's default one belongs to whichever project of the database came first.
  migrations: { schema: "inturn", table: "migrations" },
  dbCredentials: { url: process.env["DATABASE_URL"] ?? "" },
});
