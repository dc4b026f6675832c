/** A server that listens. */
export interface Listening {
  readonly url: string;
  /** Stops listening, lets the requests under way finish, and closes the connections. */
  close(): Promise<void>;
}
