/** What the suite would leave behind when it is ended half-way: folders, mounts, firewall rules, servers. */
const duties = new Set<() => void>();

process.on("exit", () => {
  for (const duty of [...duties].toReversed()) duty();
});

/** Calls `duty` when the process ends, unless the returned function was called before. It must be synchronous and never throw. */
export function onExit(duty: () => void): () => void {
  duties.add(duty);
  return () => void duties.delete(duty);
}
