import { InvalidArgumentError, Option } from "commander";

/** An option that takes a whole number within limits. */
export function wholeNumberOption(
  flags: string,
  description: string,
  limits: { least: number; most: number; default?: number },
): Option {
  const option = new Option(flags, description).argParser((text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= limits.least && value <= limits.most) return value;
    throw new InvalidArgumentError(`It takes a whole number from ${limits.least} to ${limits.most}.`);
  });
  return limits.default === undefined ? option : option.default(limits.default);
}

/** `--json`: data for scripts. */
export function jsonOption(): Option {
  return new Option("--json", "print one JSON object to standard output");
}
