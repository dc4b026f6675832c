/**
 * The settings of events that are pushed to a URL.
 */
import * as z from "zod";
import { faultOfUrl, isNetwork, PUSH_FORMATS } from "../domain/push.ts";
import { wholeNumber } from "./whole-number.ts";

/** A URL that events are pushed to. */
export const pushUrlSchema: z.ZodString = z.string().superRefine((text, context) => {
  const message = faultOfUrl(text);
  if (message !== undefined) context.addIssue({ code: "custom", message });
});

/** Part of the table of settings (see settings.ts). */
export const PUSH_SETTINGS = {
  pushUrl: {
    variable: "INTURN_PUSH_URL",
    schema: pushUrlSchema.optional(),
    description: "push events to this URL instead of calling a handler module",
  },
  pushSecrets: {
    variable: "INTURN_PUSH_SECRETS",
    schema: z
      .string()
      .transform((secrets) => secrets.split(",").map((secret) => secret.trim()))
      .refine(
        (secrets) => secrets.length <= 2 && secrets.every((secret) => /^whsec_[A-Za-z0-9+/]{32,}={0,2}$/.test(secret)),
        "must be one or two secrets, separated by a comma: `whsec_` and 24 random bytes or more in base64",
      )
      .optional(),
    description: "what pushed events are signed with; two, the newer first, while receivers change over",
  },
  pushFormat: {
    variable: "INTURN_PUSH_FORMAT",
    schema: z.enum(PUSH_FORMATS).default("cloudevents"),
    description: "how a pushed event is written: `cloudevents` (binary mode) or `json`",
  },
  pushNetworks: {
    variable: "INTURN_PUSH_NETWORKS",
    schema: z
      .string()
      .transform((networks) => networks.split(",").map((network) => network.trim()))
      .refine((networks) => networks.every(isNetwork), "must be networks such as 10.0.0.0/8, separated by commas")
      .optional(),
    description: "networks that are not public and may be pushed to, such as `10.0.0.0/8`; without TLS only these",
  },
  pushConcurrency: {
    variable: "INTURN_PUSH_CONCURRENCY",
    schema: wholeNumber(1, 10_000).default(100),
    description: "how many requests a worker process has under way to one host",
  },
} as const;
