/** Called for one event of an account at a time, in the order in which they came. */
export default async function handle(event, context) {
  context.log.info({ type: event.type }, "handled");
}
