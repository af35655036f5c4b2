import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { CofferdamError } from '../domain/errors.ts';
import type { PresetName } from '../domain/policy.ts';

const run = promisify(execFile);

/** How each client tells what it is configured for. No registry's name stands in this project. */
const QUESTIONS: Partial<Record<PresetName, { argv: [string, ...string[]]; read: (output: string) => string[] }>> = {
  npm: { argv: ['npm', 'config', 'get', 'registry'], read: (output) => [output.trim()] },
  pip: {
    argv: [
      'python3',
      '-c',
      'from pip._internal.models.index import PyPI; print(PyPI.simple_url); print("https://" + PyPI.file_storage_domain)',
    ],
    read: (output) => output.trim().split('\n'),
  },
};

/** Asks the host's own client, in an empty directory and with a built environment. Errors: `policy`. */
export async function askRegistry(preset: PresetName, signal: AbortSignal): Promise<string[]> {
  const question = QUESTIONS[preset];
  if (question === undefined)
    throw new CofferdamError('policy', 'main.askRegistry', `no client is known for the preset "${preset}"`);
  const [program, ...args] = question.argv;
  try {
    const { stdout } = await run(program, args, { cwd: '/', timeout: 60_000, signal });
    return question.read(stdout);
  } catch (cause) {
    throw new CofferdamError(
      'policy',
      'main.askRegistry',
      `the preset "${preset}" needs its client on this host: ${question.argv.join(' ')} failed`,
      cause,
    );
  }
}
