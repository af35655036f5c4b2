/** The state as a file, so that a demo that is kept running survives a restart. It holds a private key and tokens: owner only. */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { State } from './state.ts';
import type { World } from './world.ts';

interface Kept {
  state: State;
  privateKeyPem: string;
  webhookSecret: string;
}

const FILE = 'stand-in.json';

export async function readState(dir: string): Promise<Kept | undefined> {
  try {
    const kept = JSON.parse(await readFile(join(dir, FILE), 'utf8')) as Kept;
    return { ...kept, state: { ...kept.state, teams: (kept.state as Partial<State>).teams ?? [] } };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

export interface StateWriter {
  /** Writes soon; changes that come together are written once. */
  schedule: () => void;
  flush: () => Promise<void>;
}

export function stateWriter(dir: string, world: World): StateWriter {
  let timer: NodeJS.Timeout | undefined;
  let writing: Promise<void> = Promise.resolve();
  const write = async (): Promise<void> => {
    const kept: Kept = { state: world.state, privateKeyPem: world.appPrivateKey, webhookSecret: world.webhookSecret };
    const file = join(dir, FILE);
    await writeFile(`${file}.new`, JSON.stringify(kept), { mode: 0o600 });
    await rename(`${file}.new`, file);
  };
  const flush = (): Promise<void> => {
    clearTimeout(timer);
    timer = undefined;
    writing = writing.then(write);
    return writing;
  };
  return {
    schedule: () => {
      timer ??= setTimeout(() => void flush(), 200);
    },
    flush,
  };
}
