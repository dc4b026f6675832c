/** What a project imports that only sends events: it brings no database and no server with it. */
export { type Client, type ClientOptions, createClient, type SendEvent } from "./client.ts";
export { SendError, type SendErrorCode } from "./send-error.ts";
