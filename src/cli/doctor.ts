import { styleText } from "node:util";
import { Command } from "commander";
import { readSettings } from "../config/settings.ts";
import type { Finding } from "../db/examine-check.ts";
import { findDatabase } from "../service/database.ts";
import { examine } from "../service/doctor.ts";
import { jsonOption } from "./options.ts";
import { print, say } from "./output.ts";

/** How a level stands in front of a line. */
const MARKS = {
  ok: { mark: "ok", colour: "green" },
  warning: { mark: "warning", colour: "yellow" },
  problem: { mark: "PROBLEM", colour: "red" },
} as const;

/** `doctor`: what is wrong with the database, and what to do. */
export function createDoctorCommand(): Command {
  return new Command("doctor").addOption(jsonOption()).action(async (flags: { json?: boolean }) => {
    const settings = readSettings(process.env);
    const database = await findDatabase(settings, say);
    try {
      const findings = await examine(database.url, {
        poolerUrl: database.poolerUrl,
        workerConnections: settings.workerConnectionsMax,
      });
      if (flags.json === true) print(JSON.stringify(findings));
      else printFindings(findings);
      if (findings.some(({ level }) => level === "problem")) process.exitCode = 1;
    } finally {
      await database.release();
    }
  });
}

function printFindings(findings: readonly Finding[]): void {
  const checkWidth = Math.max(...findings.map(({ check }) => check.length));
  for (const { check, level, found, advice } of findings) {
    const { mark, colour } = MARKS[level];
    print(`${styleText(colour, mark.padEnd(MARKS.problem.mark.length))}  ${check.padEnd(checkWidth)}  ${found}`);
    if (advice !== null) print(`${" ".repeat(MARKS.problem.mark.length + checkWidth + 4)}${advice}`);
  }
}
