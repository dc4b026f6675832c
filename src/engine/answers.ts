import type { HttpBindings } from "@hono/node-server";
import { type Caller, senderOf } from "../domain/access.ts";
import { BodyBudget, type BodyMemory } from "./body-budget.ts";

/** A request whose answer is meant: of the API, or for a page. */
interface Asked {
  readonly env: HttpBindings;
  get(name: "caller"): Caller;
}

/** What the answers of one sender may take in memory; one that is larger counts as all of it. */
const SENDER_BYTES_MAX = 64 * 1_048_576;

/**
 * Memory for answers that carry data of events: taken before it is read, given back when the answer has left, however slowly
 * its reader takes it.
 */
export class AnswerBudget {
  readonly #budget = new BodyBudget({ bodyBytesMax: SENDER_BYTES_MAX });

  /** Takes memory for this request's answer. @throws InturnError `overloaded` when its sender has too many under way */
  hold(c: Asked, bytes: number): void {
    const memory = this.#budget.of(senderOf(c.get("caller")));
    const held = Math.min(bytes, SENDER_BYTES_MAX);
    memory.take(held);
    onceAnswered(c, () => memory.give(held));
  }
}

/** Calls back when the answer has left, or its reader has gone. */
export function onceAnswered(c: Pick<Asked, "env">, callback: () => void): void {
  // Without a server around it the app's answer is nobody's to send.
  const outgoing = (c.env as Partial<HttpBindings> | undefined)?.outgoing;
  if (outgoing === undefined || outgoing.closed) callback();
  else outgoing.once("close", callback);
}

/** Answers that wait for their reader: they count as its memory, for thousands may send and read nothing. */
export class Unread {
  readonly #memory: BodyMemory;
  #bytes = 0;
  #hasEnded = false;

  constructor(memory: BodyMemory) {
    this.#memory = memory;
  }

  /** So many are waiting now. @throws InturnError `overloaded` */
  set(bytes: number): void {
    if (this.#hasEnded) return;
    if (bytes > this.#bytes) this.#memory.take(bytes - this.#bytes);
    else this.#memory.give(this.#bytes - bytes);
    this.#bytes = bytes;
  }

  /** The answer has left. */
  end(): void {
    this.set(0);
    this.#hasEnded = true;
  }
}
