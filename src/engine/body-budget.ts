import { InturnError } from "../errors/error.ts";

/** What the bodies of known senders may take together in a process: thousands of them must not take its memory. */
const BODIES_BYTES_MAX = 256 * 1_048_576;

/**
 * What the bodies of webhooks may take. Whose they are is known only when they are there, so they have a share of their own:
 * strangers must not use up that of others.
 */
export const UNKNOWN_BODIES_BYTES_MAX: number = 64 * 1_048_576;

/** What one sender's bodies may take of it, as a share: the rest is for the others. A single body always fits. */
const SENDER_SHARE = 0.25;

/** Memory for the bodies of one sender, taken as they arrive and given back when their request is done. */
export interface BodyMemory {
  /** @throws InturnError `overloaded` when there is not enough left */
  take(bytes: number): void;
  give(bytes: number): void;
}

/** Memory for bodies. It knows only senders who have something in it. */
export class BodyBudget {
  readonly #bytesMax: number;
  readonly #senderBytesMax: number;
  #taken = 0;
  readonly #takenBy = new Map<string, number>();

  /**
   * @param options.bodyBytesMax of a single body
   * @param options.bytesMax of all bodies together; 256 MiB unless told
   */
  constructor(options: { bodyBytesMax: number; bytesMax?: number }) {
    this.#bytesMax = options.bytesMax ?? BODIES_BYTES_MAX;
    this.#senderBytesMax = Math.max(options.bodyBytesMax, SENDER_SHARE * this.#bytesMax);
  }

  /** The part of it that a sender may use. */
  of(sender: string): BodyMemory {
    return { take: (bytes) => this.#take(sender, bytes), give: (bytes) => this.#give(sender, bytes) };
  }

  #take(sender: string, bytes: number): void {
    const taken = (this.#takenBy.get(sender) ?? 0) + bytes;
    if (this.#taken + bytes > this.#bytesMax || taken > this.#senderBytesMax) {
      throw new InturnError("overloaded", "Too many large requests are under way; try again shortly.");
    }
    this.#taken += bytes;
    if (bytes > 0) this.#takenBy.set(sender, taken);
  }

  #give(sender: string, bytes: number): void {
    const left = (this.#takenBy.get(sender) ?? 0) - bytes;
    this.#taken -= bytes;
    if (left > 0) this.#takenBy.set(sender, left);
    else this.#takenBy.delete(sender);
  }
}
