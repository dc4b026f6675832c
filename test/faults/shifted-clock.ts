/**
 * Loaded into a process under test with `--import`: its clock is off by `FAULTS_CLOCK_MS`.
 */
const offMs = Number(process.env["FAULTS_CLOCK_MS"] ?? 0);
const now = Date.now.bind(Date);

globalThis.Date = class extends Date {
  constructor(...values: unknown[]) {
    super(...((values.length === 0 ? [now() + offMs] : values) as [number]));
  }

  static override now(): number {
    return now() + offMs;
  }
} as DateConstructor;
