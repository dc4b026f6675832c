/**
 * Prisma's own client for a schema without models. Its generator would write the same call into a project; it wants to download a
 * program for that, and a test should not.
 */
import { PrismaPg } from "@prisma/adapter-pg";
import { getPrismaClient } from "@prisma/client/runtime/client";

/** Of the platform; the types of Node do not declare it. */
declare const WebAssembly: { readonly Module: new (bytes: Uint8Array) => object };

const COMPILER = "@prisma/client/runtime/query_compiler_fast_bg.postgresql";

/** A transaction of Prisma. */
interface PrismaTransaction {
  $queryRawUnsafe(text: string, ...values: unknown[]): PromiseLike<unknown>;
  $executeRawUnsafe(text: string, ...values: unknown[]): PromiseLike<number>;
}

/** Prisma's client, as far as the tests use it. */
export interface Prisma {
  $transaction(work: (transaction: PrismaTransaction) => Promise<void>): Promise<void>;
  $disconnect(): Promise<void>;
}

/** Opens a client of Prisma. */
export function openPrisma(url: string): Prisma {
  const PrismaClient = getPrismaClient({
    previewFeatures: [],
    clientVersion: "7",
    engineVersion: "7",
    activeProvider: "postgresql",
    inlineSchema:
      'generator client {\n  provider = "prisma-client"\n}\ndatasource db {\n  provider = "postgresql"\n}\n',
    runtimeDataModel: { models: {}, enums: {}, types: {} },
    // Three counts, all of them zero.
    parameterizationSchema: { strings: [], graph: "AAAA" },
    compilerWasm: {
      getRuntime: async () => await import(`${COMPILER}.mjs`),
      getQueryCompilerWasmModule: async () => {
        const { wasm } = (await import(`${COMPILER}.wasm-base64.mjs`)) as { wasm: string };
        return new WebAssembly.Module(Buffer.from(wasm, "base64"));
      },
      importName: "./query_compiler_fast_bg.js",
    },
  });
  return new PrismaClient({ adapter: new PrismaPg({ connectionString: url, max: 2 }) });
}
