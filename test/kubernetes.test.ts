/** The manifests: against the schemas of Kubernetes' API, against each other, and against the program that they start. */
import assert from "node:assert/strict";
import { glob, readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { test } from "node:test";
import { parse, parseAllDocuments } from "yaml";
import { createProgram } from "../src/cli/program.ts";
import { describeSettings } from "../src/config/settings.ts";
import { LEASE_TIMES } from "../src/domain/lease-times.ts";

const FOLDER = "deploy/kubernetes";

interface Container {
  readonly args: readonly string[];
  readonly env?: readonly {
    name: string;
    value?: string;
    valueFrom?: { secretKeyRef: { name: string; key: string } };
  }[];
  readonly ports?: readonly { name: string; containerPort: number }[];
  readonly readinessProbe?: { httpGet: { path: string; port: string } };
  readonly livenessProbe?: { httpGet: { path: string; port: string } };
  readonly securityContext: Record<string, unknown>;
}

interface PodSpec {
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly terminationGracePeriodSeconds?: number;
  readonly securityContext: Record<string, unknown>;
}

interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { name: string };
  readonly spec?: {
    readonly template?: { metadata: { labels: Record<string, string> }; spec: PodSpec };
    readonly selector?: unknown;
    readonly scaleTargetRef?: { kind?: string; name: string };
  };
  readonly stringData?: Record<string, string>;
}

const files = (await Array.fromAsync(glob(`${FOLDER}/*/*.yaml`))).toSorted();
const manifests: readonly Manifest[] = (
  await Promise.all(files.filter((file) => basename(file) !== "kustomization.yaml").map(readManifests))
).flat();

async function readManifests(file: string): Promise<Manifest[]> {
  return parseAllDocuments(await readFile(file, "utf8")).map((document) => document.toJS({ merge: true }) as Manifest);
}

/** What an API server says of a manifest; empty when it takes it. */
async function judge(manifest: object): Promise<string[]> {
  const { validate } = (await import(schemaOf(manifest as Manifest))) as {
    validate: ((value: unknown) => boolean) & { errors: { instancePath: string; message?: string }[] | null };
  };
  const unread = new Set<string>();
  if (!validate(watch(manifest, unread, ""))) {
    return (validate.errors ?? []).map(
      ({ instancePath, message, ...error }) => `${instancePath} ${message ?? JSON.stringify(error)}`,
    );
  }
  // The schemas let unknown fields through, and read all that they know: a field that nobody has read is misspelled.
  return [...unread].map((path) => `${path} is unknown`);
}

/** The module that has the schema of a kind; by its file, for not every package exports it. */
function schemaOf({ apiVersion, kind }: Manifest): string {
  const title = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
  const [version = "", group = "core"] = apiVersion.split("/").toReversed();
  if (group === "keda.sh")
    return `../node_modules/@kubernetes-models/keda/_schemas/ComGithubKedacoreKedaV2ApisKeda${title(version)}${kind}.js`;
  return `../node_modules/kubernetes-models/_schemas/IoK8sApi${title(group)}${title(version)}${kind}.js`;
}

/** A value whose fields leave `unread` when they are read. */
function watch(value: unknown, unread: Set<string>, path: string): unknown {
  if (typeof value !== "object" || value === null) return value;
  const fields = new Map(Object.entries(value).map(([name, field]) => [name, watch(field, unread, `${path}/${name}`)]));
  for (const name of fields.keys()) unread.add(`${path}/${name}`);
  return new Proxy(value, {
    get: (target, name) => {
      unread.delete(`${path}/${String(name)}`);
      return typeof name === "string" && fields.has(name) ? fields.get(name) : Reflect.get(target, name);
    },
  });
}

const podOf = ({ spec }: Manifest): PodSpec | undefined => spec?.template?.spec;

const containersOf = (manifest: Manifest): readonly Container[] => {
  const pod = podOf(manifest);
  return [...(pod?.initContainers ?? []), ...(pod?.containers ?? [])];
};

test("an API server takes every manifest; it would not take a misspelled field or a text for a number", async () => {
  assert.ok(manifests.length >= 9);
  for (const manifest of manifests)
    assert.deepEqual(await judge(manifest), [], `${manifest.kind} ${manifest.metadata.name}`);
  const wrong = (change: (container: Record<string, unknown>) => void) => {
    const deployment = structuredClone(manifests.find(({ kind }) => kind === "Deployment"));
    const [container] = deployment?.spec?.template?.spec.containers ?? [];
    change(container as unknown as Record<string, unknown>);
    return judge(deployment ?? {});
  };
  assert.deepEqual(await wrong((container) => (container["livenesProbe"] = {})), [
    "/spec/template/spec/containers/0/livenesProbe is unknown",
  ]);
  assert.match(
    (await wrong((container) => (container["ports"] = [{ containerPort: "x" }])))[0] ?? "",
    /containerPort .*"type":"integer"/,
  );
});

test("each kustomization lists what lies beside it, and nothing else", async () => {
  for (const file of await Array.fromAsync(glob(`${FOLDER}/*/kustomization.yaml`))) {
    const folder = dirname(file);
    const listed = parse(await readFile(file, "utf8")) as {
      resources: string[];
      configMapGenerator?: { name: string; files: string[] }[];
    };
    const named = [file, ...listed.resources, ...(listed.configMapGenerator ?? []).flatMap((map) => map.files)];
    const there = await Array.fromAsync(glob("*", { cwd: folder }));
    const expected = there.filter((name) => !name.endsWith(".example.yaml"));
    assert.deepEqual(
      named
        .map((name) => basename(name))
        .filter((name) => name !== "base")
        .toSorted(),
      expected.toSorted(),
    );
    for (const resource of listed.resources)
      await readFile(join(folder, resource, resource.startsWith("..") ? "kustomization.yaml" : ""));
  }
});

test("selectors, targets of scaling, ports of probes and keys of the secret fit each other", () => {
  const deployments = manifests.filter(({ kind }) => kind === "Deployment");
  const names = new Set(deployments.map(({ metadata }) => metadata.name));
  const labels = new Set(deployments.map(({ spec }) => JSON.stringify(spec?.template?.metadata.labels)));
  const secret = manifests.find(({ kind }) => kind === "Secret");
  for (const { kind, metadata, spec } of manifests) {
    const what = `${kind} ${metadata.name}`;
    if (spec?.scaleTargetRef !== undefined) assert.ok(names.has(spec.scaleTargetRef.name), what);
    const selector = spec?.selector as { matchLabels?: object } | undefined;
    if (selector !== undefined) assert.ok(labels.has(JSON.stringify(selector.matchLabels ?? selector)), what);
  }
  for (const container of manifests.flatMap(containersOf)) {
    const ports = new Set((container.ports ?? []).map(({ name }) => name));
    for (const probe of [container.readinessProbe, container.livenessProbe])
      if (probe !== undefined)
        assert.ok(ports.has(probe.httpGet.port) && ["/readyz", "/livez"].includes(probe.httpGet.path));
    for (const { name, valueFrom } of container.env ?? []) {
      if (valueFrom === undefined) continue;
      assert.equal(valueFrom.secretKeyRef.name, secret?.metadata.name, name);
      assert.ok(valueFrom.secretKeyRef.key in (secret?.stringData ?? {}), name);
    }
  }
});

test("commands, flags and settings are the program's, and nothing runs as root or writes", async () => {
  const commands = new Map((await createProgram()).commands.map((command) => [command.name(), command]));
  const settings = new Set(describeSettings().map(({ variable }) => variable));
  for (const container of manifests.flatMap(containersOf)) {
    const [name = "", ...flags] = container.args;
    const known = commands.get(name)?.options.map(({ long }) => long) ?? [];
    assert.ok(commands.has(name), name);
    for (const flag of flags.filter((text) => text.startsWith("--")))
      assert.ok(known.includes(flag), `${name} ${flag}`);
    for (const { name: variable } of container.env ?? []) assert.ok(settings.has(variable), variable);
    assert.deepEqual(container.securityContext, {
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
      capabilities: { drop: ["ALL"] },
    });
  }
  for (const pod of manifests.map(podOf))
    if (pod !== undefined) assert.equal(pod.securityContext["runAsNonRoot"], true);
  const worker = manifests.find(({ kind, metadata }) => kind === "Deployment" && metadata.name === "inturn-worker");
  const shutdown = describeSettings().find(({ variable }) => variable === "INTURN_SHUTDOWN_MS");
  const graceMs = 1_000 * (podOf(worker ?? ({} as Manifest))?.terminationGracePeriodSeconds ?? 0);
  assert.ok(graceMs > Number(shutdown?.default) + LEASE_TIMES.statementMs);
});
