import assert from "node:assert/strict";
import { createRequire } from "node:module";

/** A metric with its series. */
export interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly metrics: { value?: string; count?: string; sum?: string; labels?: Record<string, string> }[];
}

const parsePrometheus = createRequire(import.meta.url)("parse-prometheus-text-format") as (text: string) => Family[];

/** Reads `/metrics` of a server. */
export async function scrape(url: string, headers: Record<string, string> = {}): Promise<Map<string, Family>> {
  const response = await fetch(`${url}/metrics`, { headers });
  assert.equal(response.status, 200);
  assert.match(response.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
  return read(await response.text());
}

/** The families of a text, by their names. */
export function read(text: string): Map<string, Family> {
  return new Map(parsePrometheus(text).map((family) => [family.name, family]));
}

/** The values of a family, by their labels; of a histogram how many were observed. */
export function valuesOf(families: ReadonlyMap<string, Family>, name: string): Record<string, number> {
  const { metrics = [] } = families.get(name) ?? {};
  const entries = metrics.map(({ value, count, labels }) => [
    Object.values(labels ?? {}).join(","),
    Number(value ?? count),
  ]);
  return Object.fromEntries(entries) as Record<string, number>;
}
