/** For the plain tool: `DATABASE_URL=… npx drizzle-kit migrate`. `npm run migrate` does the same and more. */
import { defineConfig } from "drizzle-kit";

export default defineConfig({
  dialect: "postgresql",
  schema: "./src/db/schema.ts",
  out: "./drizzle",
  dbCredentials: { url: process.env["DATABASE_URL"] ?? "" },
});
