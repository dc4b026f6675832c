/**
 * Completion for shells, as a script that knows every command and flag: a key press starts no Node.js. The libraries for it that are
 * alive start the program at each key press, or are versions of 0.0.
 */
import { Argument, Command, type Option } from "commander";
import { print } from "./output.ts";
import { createProgram } from "./program.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;

type Shell = (typeof SHELLS)[number];

/** What can follow a command: its subcommands, the choices of its arguments, and its flags. */
interface Completed {
  /** As typed: `keys create`. */
  readonly path: string;
  readonly description: string;
  readonly subcommands: readonly string[];
  readonly words: readonly string[];
  readonly options: readonly Option[];
}

/** `completion`: a script for a shell. */
export function createCompletionCommand(): Command {
  return new Command("completion")
    .addArgument(new Argument("<shell>", "which shell").choices(SHELLS))
    .action(async (shell: Shell) => print(SCRIPTS[shell](describe(await createProgram()))));
}

function describe(command: Command, path = ""): Completed[] {
  const visible = command.commands.filter((each) => each.name() !== "help");
  const choices = command.registeredArguments.flatMap(({ argChoices = [] }) => argChoices);
  const subcommands = visible.map((each) => each.name());
  const own = {
    path,
    description: command.description(),
    subcommands,
    words: [...subcommands, ...choices],
    options: command.options.filter(({ hidden, long }) => !hidden && long !== undefined),
  };
  return [own, ...visible.flatMap((each) => describe(each, `${path} ${each.name()}`.trim()))];
}

const longOf = ({ long = "" }: Option) => long;

/** A `case` for each command, and inside one for each flag with choices. */
function toBash(commands: readonly Completed[]): string {
  const cases = commands.map(({ path, words, options }) => {
    const all = [...words, ...options.map(longOf), "--help"].join(" ");
    const chosen = options
      .filter(({ argChoices }) => argChoices !== undefined)
      .map((option) => `      [ "$previous" = ${longOf(option)} ] && words="${option.argChoices?.join(" ")}"`);
    return [`    "${path}")`, `      words="${all}"`, ...chosen, "      ;;"].join("\n");
  });
  const groups = commands.filter(({ path, subcommands }) => path !== "" && subcommands.length > 0);
  return `# inturn completion bash
_inturn() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" path="" words=""
  [ "$COMP_CWORD" -gt 1 ] && path="\${COMP_WORDS[1]}"
  case "$path" in
    ${groups.map(({ path }) => path).join("|")}) [ "$COMP_CWORD" -gt 2 ] && path="$path \${COMP_WORDS[2]}" ;;
  esac
  case "$path" in
${cases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -o default -F _inturn inturn`;
}

/** zsh runs what was written for bash. */
function toZsh(commands: readonly Completed[]): string {
  return `#compdef inturn\nautoload -U +X bashcompinit && bashcompinit\n${toBash(commands).replace("completion bash", "completion zsh")}`;
}

function toFish(commands: readonly Completed[]): string {
  const quote = (text: string) => `'${text.replaceAll(/[\\']/g, String.raw`\$&`)}'`;
  const byPath = new Map(commands.map((command) => [command.path, command]));
  const lines = commands.flatMap(({ path, words, options, subcommands }) => {
    const seen = path.split(" ").map((word) => `__fish_seen_subcommand_from ${word}`);
    const others = subcommands.length === 0 ? "" : `; and not __fish_seen_subcommand_from ${subcommands.join(" ")}`;
    const when = quote(path === "" ? "__fish_use_subcommand" : `${seen.join("; and ")}${others}`);
    const described = (word: string) => byPath.get(`${path} ${word}`.trim())?.description ?? "";
    return [
      ...words.map((word) => `complete -c inturn -n ${when} -f -a ${word} -d ${quote(described(word))}`),
      ...options.map((option) => {
        const takes = option.required
          ? option.argChoices === undefined
            ? " -r"
            : ` -x -a ${quote(option.argChoices.join(" "))}`
          : "";
        return `complete -c inturn -n ${when} -l ${longOf(option).slice(2)}${takes} -d ${quote(option.description)}`;
      }),
    ];
  });
  return ["# inturn completion fish", ...lines].join("\n");
}

const SCRIPTS: Readonly<Record<Shell, (commands: readonly Completed[]) => string>> = {
  bash: toBash,
  zsh: toZsh,
  fish: toFish,
};
