/** What the shells themselves make of the scripts. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { createProgram } from "../src/cli/program.ts";
import { runProcess } from "./support/process.ts";

const run = promisify(execFile);

const isHere = async (shell: string) =>
  await run(shell, ["-c", "true"]).then(
    () => true,
    () => false,
  );

const asBash = (words: readonly string[]) =>
  `COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}; _inturn; printf '%s\n' "\${COMPREPLY[@]}"`;

/** How each shell is asked what comes next, after its script. */
const ASKS: Readonly<Record<string, (words: readonly string[]) => string>> = {
  bash: asBash,
  // As bashcompinit calls it.
  zsh: (words) => `ask() { emulate -L sh -o kshglob -o noshglob -o braceexpand; ${asBash(words)} }; ask`,
  fish: (words) => `complete --do-complete '${words.join(" ")}' | string replace -r '\t.*' ''; true`,
};

for (const shell of ["bash", "zsh", "fish"]) {
  test(`${shell} completes commands, subcommands, flags and choices`, {
    skip: !(await isHere(shell)) && `there is no ${shell} here`,
  }, async () => {
    const { stdout: script } = await runProcess(["completion", shell]);
    const ask = async (...words: string[]) => {
      const header = shell === "zsh" ? "autoload -U +X compinit && compinit -u\n" : "";
      const { stdout } = await run(shell, ["-c", `${header}${script}\n${ASKS[shell]?.(["inturn", ...words])}`]);
      // zsh compares with what was typed afterwards.
      return stdout.split("\n").filter((line) => line !== "" && line.startsWith(words.at(-1) ?? ""));
    };
    const names = (await createProgram()).commands.map((command) => command.name());
    for (const name of names) assert.ok((await ask(name)).includes(name), name);
    assert.deepEqual((await ask("re")).toSorted(), ["redrive", "replay", "resume", "retry"]);
    assert.deepEqual((await ask("keys", "")).filter((word) => /^[a-z]/.test(word)).toSorted(), [
      "create",
      "list",
      "revoke",
    ]);
    assert.ok((await ask("keys", "create", "--n")).includes("--name"));
    assert.ok((await ask("work", "--con")).includes("--concurrency"));
    assert.deepEqual((await ask("accounts", "--sort", "")).filter((word) => /^[a-z]/.test(word)).toSorted(), [
      "lag",
      "pending",
      "urgency",
    ]);
    assert.ok((await ask("completion", "")).includes("fish"));
  });
}

test("another shell is refused with the choices", async () => {
  const { code, stderr } = await runProcess(["completion", "tcsh"]);
  assert.equal(code, 2);
  assert.match(stderr, /Allowed choices are bash, zsh, fish/);
});
