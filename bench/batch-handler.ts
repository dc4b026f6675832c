/** A handler that wants a hundred events together, and does nothing with them. */
export default (): void => undefined;

export const batch = { eventsMax: 100 };
