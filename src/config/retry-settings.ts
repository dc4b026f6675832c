/**
 * The settings of how events are handled and retried where their type has no entry of its own.
 */
import * as z from "zod";
import { FAILURE_POLICIES, RETRY_RULE_LIMITS } from "../domain/failure.ts";
import { wholeNumber } from "./whole-number.ts";

/** Part of the table of settings (see settings.ts). */
export const RETRY_SETTINGS = {
  attemptsMax: {
    variable: "INTURN_ATTEMPTS_MAX",
    schema: wholeNumber(...RETRY_RULE_LIMITS.attemptsMax).default(10),
    description: "after this many failed attempts an event is given up",
  },
  failurePolicy: {
    variable: "INTURN_FAILURE_POLICY",
    schema: z.enum(FAILURE_POLICIES).default("block"),
    description: "what giving up means: `block`, `dead-letter` or `park`",
  },
  parkMs: {
    variable: "INTURN_PARK_MS",
    schema: wholeNumber(...RETRY_RULE_LIMITS.parkMs).default(3_600_000),
    description: "how long `park` blocks the account before the event becomes a dead letter, in ms",
  },
  snoozeMsMax: {
    variable: "INTURN_SNOOZE_MS_MAX",
    schema: wholeNumber(...RETRY_RULE_LIMITS.snoozeMsMax).default(86_400_000),
    description: "for how long in all a handler may put an event off without an attempt, in ms",
  },
  backoffMs: {
    variable: "INTURN_BACKOFF_MS",
    schema: wholeNumber(...RETRY_RULE_LIMITS.backoffMs).default(1_000),
    description: "the wait before the second attempt of a failed event, in ms; it doubles with each attempt",
  },
  backoffMsMax: {
    variable: "INTURN_BACKOFF_MS_MAX",
    schema: wholeNumber(...RETRY_RULE_LIMITS.backoffMsMax).default(600_000),
    description: "the longest wait between two attempts, in ms",
  },
  handlerTimeoutMs: {
    variable: "INTURN_HANDLER_TIMEOUT_MS",
    schema: wholeNumber(...RETRY_RULE_LIMITS.handlerTimeoutMs).default(300_000),
    description: "a handler that takes longer is told to stop, and its attempt has failed, in ms",
  },
  unsettledMax: {
    variable: "INTURN_UNSETTLED_MAX",
    schema: wholeNumber(...RETRY_RULE_LIMITS.unsettledMax).default(1),
    description:
      "an event may start while fewer than this many of its account are handled and not settled yet; 1: when none is",
  },
} as const;
