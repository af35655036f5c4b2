import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { z } from 'zod';
import { CofferdamError } from '../domain/errors.ts';
import { RegistryName, type OperatorEgress } from '../domain/policy.ts';
import type { AskRegistry } from '../gateway/presets.ts';
import type { RegistryPlace } from '../policy/egress/registry.ts';
import { withFiles, type ReadDocument } from './registry-documents.ts';
import { REGISTRY_QUESTIONS } from './registry-questions.ts';

/** Runs a script where clients are, and gives what it prints. Rejects when that place cannot be asked at all. */
export type AskClients = (script: string, signal: AbortSignal) => Promise<string>;

/** What was found out about one preset, kept so that it can be shown and compared. */
export interface KnownRegistry {
  places: RegistryPlace[];
  /** Who named them: the policy, the sandbox image's client, or the host's. */
  by: 'policy' | 'image' | 'host';
  /** SHA-256 over the places. */
  digest: string;
  at: string;
}

const Known = z.object({
  places: z.array(z.object({ part: z.enum(['index', 'files', 'checksums']), address: z.string() })),
  by: z.enum(['policy', 'image', 'host']),
  digest: z.string(),
  at: z.string(),
});
const Store = z.partialRecord(RegistryName, Known);

const ANSWER_MS = 120_000;

/**
 * Asks for a preset's registry once and keeps the answer: the policy's own word, else the client in the operator's sandbox
 * image (what runs will use), else the client of this host. Then the registry's own document says where files are.
 */
export function createRegistries(options: {
  registries: OperatorEgress['registries'];
  image: AskClients;
  host?: AskClients;
  read: ReadDocument;
  /** Where results are kept for `policy explain`. */
  store: string;
}): AskRegistry {
  const known = new Map<RegistryName, Promise<KnownRegistry>>();
  let writing = Promise.resolve();

  async function ask(preset: RegistryName, signal: AbortSignal): Promise<KnownRegistry> {
    const found = await resolve(options, preset, signal);
    // One after the other, since each adds to the same file.
    writing = writing.then(() => keep(options.store, preset, found)).catch(() => undefined);
    await writing;
    return found;
  }

  return async (preset, signal) => {
    const asked = known.get(preset) ?? ask(preset, signal);
    known.set(preset, asked);
    // A failure is not kept: the next run may find the registry answering.
    asked.catch(() => known.delete(preset));
    return (await asked).places;
  };
}

async function resolve(
  options: Parameters<typeof createRegistries>[0],
  preset: RegistryName,
  signal: AbortSignal,
): Promise<KnownRegistry> {
  const named = await clientsWord(options, preset, signal);
  const places = await withFiles({ preset, places: named.places, read: options.read, signal });
  const digest = createHash('sha256').update(JSON.stringify(places)).digest('hex');
  return { places, by: named.by, digest, at: new Date().toISOString() };
}

async function clientsWord(
  options: Parameters<typeof createRegistries>[0],
  preset: RegistryName,
  signal: AbortSignal,
): Promise<Pick<KnownRegistry, 'places' | 'by'>> {
  const given = options.registries[preset];
  if (given) return { by: 'policy', places: given.map((address) => ({ part: 'index', address })) };
  const { script, read, needs } = REGISTRY_QUESTIONS[preset];
  for (const [by, ask] of [['image', options.image] as const, ['host', options.host ?? askHost] as const]) {
    const places = read(await ask(script, signal));
    if (places) return { by, places };
  }
  throw new CofferdamError(
    'policy',
    'main.registries',
    `the preset "${preset}": neither the sandbox image nor this host has a client that says which registry it uses; install ${needs ?? 'one'}, or name the registry: egress.registries.${preset}: [https://…]`,
  );
}

/** The host's own client, in no project. What fails prints nothing of use, which the reader sees. */
function askHost(script: string, signal: AbortSignal): Promise<string> {
  return new Promise((done) => {
    execFile('/bin/sh', ['-c', script], { cwd: '/', timeout: ANSWER_MS, signal }, (_error, stdout, stderr) =>
      done(stdout + stderr),
    );
  });
}

/** What the last run found out; empty when there was none, or it cannot be read. */
export async function knownRegistries(store: string): Promise<Partial<Record<RegistryName, KnownRegistry>>> {
  try {
    return Store.parse(JSON.parse(await readFile(store, 'utf8')));
  } catch {
    return {};
  }
}

async function keep(store: string, preset: RegistryName, known: KnownRegistry): Promise<void> {
  const all = { ...(await knownRegistries(store)), [preset]: known };
  await mkdir(dirname(store), { recursive: true });
  const fresh = `${store}.${process.pid}`;
  await writeFile(fresh, `${JSON.stringify(all, undefined, 2)}\n`, { mode: 0o600 });
  await rename(fresh, store);
}
