import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { REPOSITORY_FILE } from '../domain/configuration.ts';
import { CofferdamError } from '../domain/errors.ts';
import { Digest } from '../domain/ids.ts';
import { OperatorPolicy, RepositoryFile } from '../domain/policy.ts';
import { itemLines, parseYaml } from './yaml.ts';

export interface LoadedPolicy {
  policy: OperatorPolicy;
  /** SHA-256 of the file's bytes. */
  digest: Digest;
  source: string;
  /** Line of each entry of `egress.allow`. */
  allowLines: number[];
}

/** The policy of `exec` when none is named: no way out, no model. */
const BUILT_IN = 'egress:\n  allow: []\n';

/** Reads and validates the operator's policy. Errors: `policy`, with line and column. */
export async function loadPolicy(file: string | undefined): Promise<LoadedPolicy> {
  if (file === undefined) return parsePolicy(BUILT_IN, 'built-in policy');
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new CofferdamError('policy', 'config.loadPolicy', `cannot read the policy file ${file}`, cause);
  });
  return parsePolicy(text, file);
}

export function parsePolicy(text: string, source: string): LoadedPolicy {
  const policy = parseYaml({ text, file: source, schema: OperatorPolicy, code: 'policy' });
  return { policy, digest: digestText(text), source, allowLines: itemLines(text, ['egress', 'allow']) };
}

/** `.github/cofferdam.yml`; a missing file is an empty one. Errors: `repository_file`. */
export function parseRepositoryFile(text: string | null): RepositoryFile {
  return parseYaml({
    text: text ?? '',
    file: REPOSITORY_FILE,
    schema: RepositoryFile,
    code: 'repository_file',
  });
}

export function digestText(text: string): Digest {
  return Digest.parse(`sha256:${createHash('sha256').update(text).digest('hex')}`);
}
