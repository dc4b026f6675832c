/** The handler that `docker compose` runs with INTURN_HANDLER=handlers/example.mjs: it writes each event to the log. */
export default async function handle(event, { log }) {
  log.info({ type: event.type, data: event.data }, "handled");
}
