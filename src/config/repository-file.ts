/** `.github/cofferdam.yml` against the operator's policy: what is wrong in it and where, or what it comes to. */
import { CofferdamError } from '../domain/errors.ts';
import { REPOSITORY_FILE, type EffectiveSettings, type RepositoryProblem } from '../domain/configuration.ts';
import { type OperatorPolicy } from '../domain/policy.ts';
import { RepositoryFile } from '../domain/repository-file.ts';
import { lintPolicy } from '../policy/egress/lint.ts';
import { patternMatches } from '../policy/llm/judge.ts';
import type { LoadedPolicy } from './policy-file.ts';
import { settleEgress, settleHold, settleLimits, settleProtected, settlePull } from './settle.ts';
import { describeProblems, readYaml } from './yaml.ts';

/** What the file is measured by. */
export interface Installation {
  policy: Pick<LoadedPolicy, 'policy' | 'allowLines'>;
  /** Ids of the agents that there are. */
  agents: readonly string[];
}

type Checked =
  { file: RepositoryFile; effective: EffectiveSettings } | { file?: RepositoryFile; problems: RepositoryProblem[] };

/** The whole check. `null`: there is no such file, which is like an empty one. */
export function checkRepositoryFile(text: string | null, installation: Installation): Checked {
  const read = readYaml(text ?? '', RepositoryFile);
  if ('problems' in read) return read;
  const file = read.value;
  const problems = slips(file, installation).map(({ path, message }) => ({
    ...read.at(path),
    message,
    key: String(path[0]),
  }));
  if (problems.length > 0) return { file, problems };
  return { file, effective: effectiveSettings(file, installation.policy.policy) };
}

/** For a run. Errors: `repository_file` with every problem's place. `overridden`: keys that a command says otherwise. */
export function readRepositoryFile(
  text: string | null,
  options: Installation & { overridden: readonly string[] },
): RepositoryFile {
  const checked = checkRepositoryFile(text, options);
  const found = 'problems' in checked ? checked.problems : [];
  const problems = found.filter(({ key }) => key === undefined || !options.overridden.includes(key));
  if (problems.length === 0 && checked.file !== undefined) return checked.file;
  const message = describeProblems(REPOSITORY_FILE, problems);
  throw new CofferdamError('repository_file', 'config.readRepositoryFile', message);
}

interface Slip {
  path: (string | number)[];
  message: string;
}

/** Each part is settled alone, by what settles the whole for a run: so each gets its own place. */
function slips(file: RepositoryFile, installation: Installation): Slip[] {
  const { policy } = installation.policy;
  const parts: [Slip['path'], () => unknown][] = [
    ...Object.entries(file.limits).map(([name, value]): (typeof parts)[number] => [
      ['limits', name],
      () => settleLimits(policy, { ...file, limits: { [name]: value } }, {}),
    ]),
    ...file.egress.allow.map((entry, index): (typeof parts)[number] => [
      ['egress', 'allow', index],
      () => settleEgress(installation.policy, { egress: { allow: [entry] } }),
    ]),
    ...file.protected.map((pattern, index): (typeof parts)[number] => [
      ['protected', index],
      () => settleProtected({ ...file, protected: [pattern] }),
    ]),
    [['publish', 'hold'], () => settleHold(policy, file)],
    [['publish', 'labels'], () => settlePull(policy, file)],
  ];
  const settled = parts.flatMap(([path, settle]) => {
    const message = lintOf(file, path) ?? problemOf(settle);
    return message === undefined ? [] : [{ path, message }];
  });
  return [...settled, ...named(file, installation)];
}

function problemOf(settle: () => unknown): string | undefined {
  try {
    settle();
    return undefined;
  } catch (thrown) {
    if (thrown instanceof CofferdamError) return thrown.message;
    throw thrown;
  }
}

/** What is wrong with an entry of `egress.allow` in itself. */
function lintOf(file: RepositoryFile, [key, , index]: Slip['path']): string | undefined {
  const entry = key === 'egress' ? file.egress.allow[Number(index)] : undefined;
  if (entry === undefined || typeof entry === 'string') return undefined;
  const problems = lintPolicy({ rules: [{ ...entry, source: '' }], deny: [], gitRepositories: [] });
  return problems.length === 0 ? undefined : `egress.allow: ${problems.map(({ message }) => message).join('; ')}`;
}

/** Names of what the installation has or has not. */
function named(file: RepositoryFile, { policy: { policy }, agents }: Installation): Slip[] {
  const found: Slip[] = [];
  if (file.agent !== undefined && !agents.includes(file.agent)) {
    found.push({ path: ['agent'], message: `agent: there is no "${file.agent}"; agents are ${agents.join(', ')}` });
  }
  const message = file.model === undefined ? undefined : modelProblem(policy, file.model);
  if (message !== undefined) found.push({ path: ['model'], message });
  if (file.services.length > 0) {
    const text = 'services are not offered by this version; start them in `setup`';
    found.push({ path: ['services'], message: text });
  }
  return found;
}

function modelProblem({ llm }: OperatorPolicy, model: string): string | undefined {
  const [, provider, name] = /^([^/]+)\/(.+)$/.exec(model) ?? [];
  if (provider === undefined || name === undefined) return `model: write "${model}" as <provider>/<model>`;
  if (!Object.hasOwn(llm.providers, provider)) {
    const known = Object.keys(llm.providers).join(', ');
    return `model: the operator's policy has no provider "${provider}"; it has ${known === '' ? 'none' : known}`;
  }
  const patterns = llm.models.length > 0 ? llm.models : [llm.default?.split('/').slice(1).join('/') ?? ''];
  if (patterns.some((pattern) => patternMatches(pattern, provider, name))) return undefined;
  return `model: "${name}" is not among the operator's: ${patterns.join(', ')}`;
}

function effectiveSettings(file: RepositoryFile, policy: OperatorPolicy): EffectiveSettings {
  return {
    agent: file.agent ?? policy.agent,
    model: file.model ?? policy.llm.default,
    limits: settleLimits(policy, file, {}),
    env: file.env,
    setup: file.setup,
    verify: file.verify,
    added: file.egress.allow,
    protected: settleProtected(file),
    hold: settleHold(policy, file),
    pull: settlePull(policy, file),
  };
}
