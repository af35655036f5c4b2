import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LoadedPolicy } from '../config/policy-file.ts';
import { resolveEntries } from '../gateway/presets.ts';
import type { Machine } from '../local/machine/machine.ts';
import type { KernelRecorder } from '../sandbox/kernel/recorder.ts';
import { askImage } from '../sandbox/probe.ts';
import { createRegistries } from './registries.ts';
import { httpsDocuments } from './registry-documents.ts';
import type { ResolveEgress } from './planner.ts';

/** How long a client in the sandbox image may take to say what it is configured for; Java is slow to start. */
const CLIENT_MS = 120_000;

/** What runs of this installation found out about registries. */
export function registriesFile(dataDir: string): string {
  return join(dataDir, 'registries.json');
}

/** Presets to hosts for one installation: each registry is asked for once. Errors of the result: `policy`. */
export async function createEgress(options: {
  policy: LoadedPolicy;
  machine: Pick<Machine, 'dockerSocket' | 'toolboxDir' | 'caFile'>;
  installation: string;
  dataDir: string;
  kernel: KernelRecorder;
}): Promise<ResolveEgress> {
  const { egress, sandbox } = options.policy.policy;
  const { dockerSocket, toolboxDir } = options.machine;
  const probes = {
    dockerSocket,
    toolboxDir,
    installation: options.installation,
    settings: sandbox,
    kernel: options.kernel,
  };
  const caFile = egress.caFile ?? options.machine.caFile;
  const ask = createRegistries({
    registries: egress.registries,
    image: (script) => askImage(probes, script, CLIENT_MS),
    read: httpsDocuments(caFile === undefined ? undefined : await readFile(caFile, 'utf8')),
    store: registriesFile(options.dataDir),
  });
  return (entries, signal) => resolveEntries({ entries, ask, allowPrivate: egress.presetsAllowPrivate, signal });
}
