/**
 * The live overview: each reading is rendered once and sent to everybody who looks on.
 */
import { type SSEStreamingApi, streamSSE } from "hono/streaming";
import type { Database } from "../db/pool.ts";
import type { Pulse } from "../db/pulse.ts";
import type { PulseWatch } from "../engine/pulse.ts";
import { InturnError } from "../errors/error.ts";
import { pointsOf, renderNews } from "./overview.ts";
import { type DashboardPage, lookAt, type PageContext } from "./page.ts";

/** Browsers that may look on at once; each holds a connection. */
const VIEWERS_MAX = 200;

/** A browser that takes nothing for this long is gone, or never wanted to read: another one may connect instead. */
const BUSY_MS_MAX = 30_000;

interface Viewer {
  readonly stream: SSEStreamingApi;
  readonly end: () => void;
  /** Since when it has had a message that it has not taken; it misses the ones after it. */
  busySinceMs: number | undefined;
}

/** Everybody who looks on. */
export class LiveOverview {
  readonly #database: Database;
  readonly #watch: PulseWatch;
  readonly #basePath: string;
  readonly #viewers = new Set<Viewer>();
  #stopListening: (() => void) | undefined;
  #isClosed = false;

  constructor(options: { database: Database; watch: PulseWatch; basePath: string }) {
    const { database, watch, basePath } = options;
    this.#database = database;
    this.#watch = watch;
    this.#basePath = basePath;
  }

  /** The stream of the overview. */
  readonly page: DashboardPage = lookAt("/live", (c) => {
    if (this.#viewers.size >= VIEWERS_MAX || this.#isClosed) {
      throw new InturnError("overloaded", `${VIEWERS_MAX} browsers look on already.`);
    }
    return this.#stream(c);
  });

  /** Ends every stream. */
  close(): void {
    this.#isClosed = true;
    this.#stopListening?.();
    for (const viewer of this.#viewers) viewer.end();
  }

  #stream(c: PageContext): Response {
    return streamSSE(c, async (stream) => {
      const { promise: ended, resolve: end } = Promise.withResolvers<void>();
      const viewer = { stream, end, busySinceMs: undefined };
      this.#viewers.add(viewer);
      this.#stopListening ??= this.#watch.listen((pulse) => void this.#send(pulse));
      stream.onAbort(end);
      await ended;
      this.#viewers.delete(viewer);
      if (this.#viewers.size > 0) return;
      this.#stopListening?.();
      this.#stopListening = undefined;
    });
  }

  /** While the database cannot be read nothing is sent: the page says since when it has been still. */
  async #send(pulse: Pulse | undefined): Promise<void> {
    if (pulse === undefined || this.#viewers.size === 0) return;
    const options = { database: this.#database, watch: this.#watch, pulse, basePath: this.#basePath };
    const news = await renderNews(options).catch(() => undefined);
    if (news === undefined) return;
    const point = JSON.stringify(pointsOf(this.#watch.history.slice(-2)));
    for (const viewer of this.#viewers) void sendTo(viewer, news, point);
  }
}

async function sendTo(viewer: Viewer, news: string, point: string): Promise<void> {
  if (viewer.busySinceMs !== undefined) {
    if (performance.now() - viewer.busySinceMs > BUSY_MS_MAX) viewer.end();
    return;
  }
  viewer.busySinceMs = performance.now();
  try {
    await viewer.stream.writeSSE({ data: news });
    await viewer.stream.writeSSE({ event: "point", data: point });
  } catch {
    viewer.end();
  }
  viewer.busySinceMs = undefined;
}
