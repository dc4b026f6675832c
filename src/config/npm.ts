/** Whether npm, or something like it, has started this process: by a script of a `package.json`, or as `npx`. */
export function isRunByNpm(environment: NodeJS.ProcessEnv): boolean {
  return environment["npm_command"] !== undefined;
}
