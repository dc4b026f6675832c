/**
 * What several API processes on one port share: the secret of their forms, for a browser reaches any of them, and their metrics, for a
 * scrape does so too. It asks the process that keeps them all, and that one asks each. Every series has the number of its process: one
 * that is started again begins anew with its own only.
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { AggregatorRegistry } from "prom-client";
import type { Counted, ShareCounted } from "../metrics/api-metrics.ts";

/** The part of one process. */
export interface PortShare {
  readonly formSecret: string;
  /** Gives what the metrics of all are read with. */
  readonly metrics: ShareCounted;
}

/** What is said over the channel between an API process and its keeper. */
type Message =
  | { readonly formSecret: string }
  | { readonly metrics: "wanted"; readonly question: number }
  | { readonly metrics: "all"; readonly question: number; readonly counted: readonly Counted[] }
  | { readonly metrics: "asked"; readonly question: number }
  | { readonly metrics: "told"; readonly question: number; readonly counted: Counted };

/** A process that has not answered by then is left out: it hangs, or has just ended. */
const ANSWER_MS_MAX = 1_000;

/** Questions to somebody else that wait for their answers, by number. */
class Questions<Answer> {
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #last = 0;

  /** Resolves with the answer; with undefined when none has come in time. */
  async ask(say: (question: number) => void, msMax: number): Promise<Answer | undefined> {
    this.#last += 1;
    const question = this.#last;
    const { promise, resolve } = Promise.withResolvers<Answer | undefined>();
    this.#waiting.set(question, resolve);
    const timer = setTimeout(() => resolve(undefined), msMax);
    say(question);
    const answer = await promise;
    clearTimeout(timer);
    this.#waiting.delete(question);
    return answer;
  }

  answer(question: number, answer: Answer): void {
    this.#waiting.get(question)?.(answer);
  }
}

/** The keeper's side. */
export class MetricsKeeper {
  readonly #questions = new Questions<Counted>();
  readonly #processes: readonly { say(message: Message): void }[];

  /** @param processes all of them, in the order of their numbers, which begin at 1; may grow until they are started */
  constructor(processes: readonly { say(message: Message): void }[]) {
    this.#processes = processes;
  }

  /** Takes what the process with this number says. */
  hear(number: number, message: unknown): void {
    if (!isMessage(message)) return;
    if (message.metrics === "told") this.#questions.answer(message.question, message.counted);
    if (message.metrics === "wanted") void this.#collectFor(number, message.question);
  }

  async #collectFor(number: number, question: number): Promise<void> {
    const answers = this.#processes.map((asked) =>
      this.#questions.ask((own) => asked.say({ metrics: "asked", question: own }), ANSWER_MS_MAX),
    );
    const counted = (await Promise.all(answers)).filter((answer) => answer !== undefined);
    this.#processes[number - 1]?.say({ metrics: "all", question, counted });
  }
}

/** What a keeper greets each process with. Anew with every keeper. */
export function createGreeting(): object {
  return { formSecret: randomBytes(32).toString("hex") } satisfies Message;
}

/**
 * The side of a process that a keeper has started. Resolves when the keeper has greeted it.
 *
 * @param number of this process, from 1
 */
export async function joinPort(number: number): Promise<PortShare> {
  // Listening to a parent is no reason to stay; waiting for its greeting is: nothing else may have begun.
  process.channel?.ref();
  const [greeting] = (await once(process, "message")) as [{ formSecret: string }];
  process.channel?.unref();
  return { formSecret: greeting.formSecret, metrics: (own) => shareMetrics(own, number) };
}

function shareMetrics(own: () => Promise<Counted>, number: number): () => Promise<string> {
  const labelled = async () => {
    const counted = await own();
    for (const { values } of counted)
      for (const value of values) value.labels = { ...value.labels, process: String(number) };
    return counted;
  };
  const questions = new Questions<readonly Counted[]>();
  const say = (message: Message) => void process.send?.(message);
  process.on("message", (message) => {
    if (!isMessage(message)) return;
    const { question } = message;
    if (message.metrics === "all") questions.answer(question, message.counted);
    if (message.metrics === "asked") void labelled().then((counted) => say({ metrics: "told", question, counted }));
  });
  return async () => {
    const all = await questions.ask((question) => say({ metrics: "wanted", question }), 2 * ANSWER_MS_MAX);
    return await AggregatorRegistry.aggregate(all === undefined ? [await labelled()] : [...all]).metrics();
  };
}

function isMessage(message: unknown): message is Extract<Message, { metrics: string }> {
  return typeof message === "object" && message !== null && "metrics" in message;
}
