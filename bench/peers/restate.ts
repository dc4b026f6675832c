/** Restate: a virtual object for each account; one-way sends over HTTP, each account's one after the other. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http2";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as restate from "@restatedev/restate-sdk";
import { post } from "../post.ts";
import type { Peer } from "./peer.ts";

const [INGRESS, ADMIN, SERVICE] = [18_080, 19_070, 19_080];

const LANES = 64;

const binary = () => {
  const require = createRequire(import.meta.url);
  const { platform, arch } = process;
  const folder = dirname(require.resolve(`@restatedev/restate-server-${platform}-${arch}/package.json`));
  return join(folder, "bin", "restate-server");
};

async function untilUp(url: string): Promise<void> {
  while (
    !(await fetch(url).then(
      ({ ok }) => ok,
      () => false,
    ))
  )
    await sleep(50);
}

export const restateServer: Peer = {
  name: "Restate",
  package: "@restatedev/restate-server",
  what: "a virtual object per account, one-way sends over HTTP, 64 at a time; end to end",
  events: 10_000,
  isEndToEnd: true,
  async start({ folder }) {
    const server = spawn(binary(), ["--base-dir", folder, "--no-logo"], {
      stdio: "ignore",
      env: {
        ...process.env,
        RESTATE_INGRESS__BIND_ADDRESS: `127.0.0.1:${INGRESS}`,
        RESTATE_ADMIN__BIND_ADDRESS: `127.0.0.1:${ADMIN}`,
        RESTATE_BIND_ADDRESS: "127.0.0.1:15122",
        RESTATE_LISTEN_MODE: "tcp",
        RESTATE_DISABLE_TELEMETRY: "true",
        DO_NOT_TRACK: "1",
      },
    });
    await untilUp(`http://127.0.0.1:${ADMIN}/health`);
    await untilUp(`http://127.0.0.1:${INGRESS}/restate/health`);
    return async () => {
      server.kill("SIGKILL");
      await once(server, "exit");
    };
  },
  async send(_surroundings, events) {
    const accounts = [...Map.groupBy(events, ({ accountId }) => accountId).values()];
    const lane = async () => {
      for (let own = accounts.shift(); own !== undefined; own = accounts.shift()) {
        for (const { accountId, n } of own) {
          await post(`http://127.0.0.1:${INGRESS}/account/${accountId}/handle/send`, { n });
        }
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
  },
  async work(_surroundings, share, onEvent) {
    // One endpoint: Restate takes the newest deployment of a service.
    if (share !== 0) return async () => undefined;
    const account = restate.object({
      name: "account",
      handlers: {
        handle: async (context: restate.ObjectContext, { n }: { n: number }) => onEvent(context.key, n),
      },
    });
    const handler = restate.createEndpointHandler({ services: [account] });
    const server = createServer(handler).listen(SERVICE, "127.0.0.1");
    await once(server, "listening");
    await post(`http://127.0.0.1:${ADMIN}/deployments`, { uri: `http://127.0.0.1:${SERVICE}`, force: true });
    return async () => void server.close();
  },
};
