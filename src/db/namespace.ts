import { pgSchema } from "drizzle-orm/pg-core";

/**
 * The schema of everything that is ours. It is declared apart from the tables, where drizzle-kit does not look: the migrators
 * make the schema themselves, for the table that lists the migrations.
 */
export const inturn = pgSchema("inturn");
