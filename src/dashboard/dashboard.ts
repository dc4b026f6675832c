/**
 * The dashboard: every page, and what is live on them.
 */
import type { Database } from "../db/pool.ts";
import type { AnswerBudget } from "../engine/answers.ts";
import type { PulseWatch } from "../engine/pulse.ts";
import type { Log } from "../log/log.ts";
import { createAccountPage, createDataPage } from "./account.ts";
import { createAccountsPage } from "./accounts.ts";
import { assetPages } from "./assets.ts";
import { createDeadLettersPage } from "./dead-letters.ts";
import { createDownloads } from "./downloads.ts";
import { showError } from "./error-page.ts";
import { createEventsPage } from "./events.ts";
import { createLanesPages } from "./lanes.ts";
import { LiveOverview } from "./live.ts";
import { createOperationPages } from "./operations.ts";
import { createOverviewPage } from "./overview.ts";
import type { DashboardPage } from "./page.ts";
import { createResultsPage } from "./results.ts";
import { createVerbPages } from "./verbs.ts";
import { createWorkersPage } from "./workers.ts";

/** What the dashboard stands on. */
export interface DashboardOptions {
  readonly database: Database;
  readonly watch: PulseWatch;
  readonly log: Log;
  readonly answers: AnswerBudget;
  /** What a proxy puts before every path; empty without one. */
  readonly basePath: string;
}

/** All pages, the one that tells of errors, and the end of all streams. */
export interface Dashboard {
  readonly pages: readonly DashboardPage[];
  readonly showError: typeof showError;
  close(): void;
}

/** Creates the dashboard. */
export function createDashboard(options: DashboardOptions): Dashboard {
  const { database, watch, log } = options;
  const live = new LiveOverview(options);
  return {
    pages: [
      createOverviewPage(database, watch),
      live.page,
      createAccountsPage(database),
      createAccountPage(database),
      createDataPage(database, options.answers),
      ...createVerbPages(database, log),
      ...createOperationPages(database, log),
      createEventsPage(database),
      ...createLanesPages(database),
      createDeadLettersPage(database),
      createWorkersPage(database),
      createResultsPage(database),
      ...createDownloads([database]),
      ...assetPages,
    ],
    showError,
    close: () => live.close(),
  };
}
