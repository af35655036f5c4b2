import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { REPOSITORY_FILE } from '../domain/configuration.ts';
import { CofferdamError } from '../domain/errors.ts';
import { Digest } from '../domain/ids.ts';
import { OperatorPolicy } from '../domain/policy.ts';
import { RepositoryFile } from '../domain/repository-file.ts';
import { ownLabel } from '../policy/authority/labels.ts';
import { enterpriseProblem } from '../policy/egress/github.ts';
import { lintPolicy } from '../policy/egress/lint.ts';
import type { GitHubAddress } from './environment.ts';
import { describeProblems, itemLines, parseYaml, readYaml, type FileProblem, type YamlFile } from './yaml.ts';

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

/**
 * Reads and validates the operator's policy, its rules included: what would be a hole is refused before anything starts.
 * `github`: the installation's, whose hosts have rules of their own. Errors: `policy`, with line and column.
 */
export async function loadPolicy(file: string | undefined, github?: GitHubAddress): Promise<LoadedPolicy> {
  if (file === undefined) return parsePolicy(BUILT_IN, 'built-in policy');
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new CofferdamError('policy', 'config.loadPolicy', `cannot read the policy file ${file}`, cause);
  });
  return parsePolicy(text, file, enterpriseHost(github));
}

/** `enterprise`: host of the installation's GitHub Enterprise Server. */
export function parsePolicy(text: string, source: string, enterprise?: string): LoadedPolicy {
  const read = readYaml(text, OperatorPolicy);
  const problems = 'problems' in read ? read.problems : rulesOf(read, enterprise);
  if ('problems' in read || problems.length > 0)
    throw new CofferdamError('policy', 'config.parsePolicy', describeProblems(source, problems));
  return { policy: read.value, digest: digestText(text), source, allowLines: itemLines(text, ['egress', 'allow']) };
}

/** What is wrong with rules in themselves, each with its place. */
function rulesOf({ value, at }: YamlFile<OperatorPolicy>, enterprise: string | undefined): FileProblem[] {
  const { allow, mayAdd, deny, revocation } = value.egress;
  const entries = { allow, mayAdd };
  const ofRules = (['allow', 'mayAdd'] as const).flatMap((key) =>
    entries[key].flatMap((entry, index) => {
      if (typeof entry === 'string') return [];
      const policy = { rules: [{ ...entry, source: '' }], deny: [], gitRepositories: [] };
      const own = enterprise === undefined ? undefined : enterpriseProblem(entry, enterprise);
      const messages = [...lintPolicy(policy).map(({ message }) => message), ...(own === undefined ? [] : [own])];
      return messages.map((message) => ({
        ...at(['egress', key, index]),
        message: `egress.${key}, ${entry.host}: ${message}`,
      }));
    }),
  );
  const ofPatterns = (patterns: readonly string[], path: readonly string[]): FileProblem[] =>
    patterns.flatMap((pattern, index) =>
      lintPolicy({ rules: [], deny: [pattern], gitRepositories: [] }).map(({ message }) => ({
        ...at([...path, index]),
        message: `${path.join('.')}, ${pattern}: ${message}`,
      })),
    );
  const ofDenials = ofPatterns(deny, ['egress', 'deny']);
  const ofRevocation = ofPatterns(revocation?.hosts ?? [], ['egress', 'revocation', 'hosts']);
  const own = ownLabel(value.publish.labels, value.label);
  const ofLabels =
    own === undefined
      ? []
      : [
          {
            ...at(['publish', 'labels', value.publish.labels.indexOf(own)]),
            message: `publish.labels: ${JSON.stringify(own)} is one of the labels that start a run or show its state; take another`,
          },
        ];
  return [...ofRules, ...ofDenials, ...ofRevocation, ...ofLabels];
}

function enterpriseHost(github: GitHubAddress | undefined): string | undefined {
  const host = github && new URL(github.webUrl).hostname;
  return host === 'github.com' ? undefined : host;
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
