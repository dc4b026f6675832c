/** What the compiler does not bring into `dist/`: the files that pages load. */
import { cp, mkdir } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

/** With its licence, as that demands. */
const SWAGGER_UI = ["swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-bundle.js.LICENSE.txt", "LICENSE", "NOTICE"];

const swaggerUi = dirname(createRequire(import.meta.url).resolve("swagger-ui-dist/package.json"));
const target = join("dist", "http", "swagger-ui");

await cp(join("src", "dashboard", "assets"), join("dist", "dashboard", "assets"), { recursive: true });
await mkdir(target, { recursive: true });
for (const file of SWAGGER_UI) await cp(join(swaggerUi, file), join(target, file));
