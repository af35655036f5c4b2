import { readFile } from 'node:fs/promises';
import type { Environment } from '../config/environment.ts';
import { loadPolicy, parseRepositoryFile, type LoadedPolicy } from '../config/policy-file.ts';
import { settleEgress } from '../config/settle.ts';
import { CofferdamError } from '../domain/errors.ts';
import type { EgressEntry, EgressPolicy } from '../domain/policy.ts';
import { prepareMachine } from '../local/machine/machine.ts';
import { createEgress, registriesFile } from '../main/egress.ts';
import { dataDirectory, installationId } from '../main/host.ts';
import { createKernelRecorder } from '../main/kernel-client.ts';
import { knownRegistries } from '../main/registries.ts';
import { GATEWAY_LIMITS } from '../gateway/limits.ts';
import {
  DEFAULT_METHODS,
  DEFAULT_PORTS,
  judgeConnect,
  judgeLabel,
  judgeName,
  judgeRequest,
  type ConnectVerdict,
} from '../policy/egress/decide.ts';
import { withGithubAssets } from '../policy/egress/github.ts';
import { canonicalAuthority } from '../policy/egress/host.ts';
import { lintPolicy } from '../policy/egress/lint.ts';
import { canonicalPath } from '../policy/egress/path.ts';
import { wouldAllow } from '../policy/egress/report.ts';
import type { Decision } from '../domain/decision.ts';
import { machineProgress } from './progress.ts';

interface PolicyOptions {
  policy?: string | undefined;
  /** A repository's file, to be settled with the policy. */
  repositoryFile?: string | undefined;
  /** `OWNER/NAME` whose run is asked about; without it a rule for the run's own repository allows nothing. */
  repository?: string | undefined;
  json?: boolean | undefined;
  environment: Environment;
  signal: AbortSignal;
  stdout: { write(text: string): unknown };
}

/**
 * `cofferdam policy test`: would this be allowed? 0 allowed, 1 denied. Nothing is resolved or dialled: what the address of
 * an allowed name would be judged as is not part of the answer. Errors: `usage`, `policy`, `repository_file`.
 */
export async function policyTestCommand(
  options: PolicyOptions & { target: string; method?: string | undefined; path?: string | undefined },
): Promise<number> {
  const { target, method, path, stdout } = options;
  const { egress } = await settle(options);
  const at = canonicalAuthority(target, 443);
  if (!at.ok) return answer(options, { allow: false, rule: 'connect', reason: at.reason }, undefined);
  const { host, port } = at;
  const connect = limited(egress, judgeConnect(egress, host, port), host);
  // As in a run, a request is asked about after its connection.
  if (method === undefined || !connect.decision.allow) return answer(options, connect.decision, { host, port });
  if (connect.passThrough) {
    stdout.write('TLS is passed through to this host: methods and paths are not seen\n');
    return answer(options, connect.decision, { host, port });
  }
  const canonical = canonicalPath(path ?? '/');
  if (!canonical.ok) return answer(options, { allow: false, rule: 'http', reason: 'malformed' }, undefined);
  const { decision } = judgeRequest(egress, { host, port, method, path: canonical.path });
  return answer(options, decision, { host, port, method, path: canonical.path });
}

/** What a wildcard may stand for is bound; how many names it may is a matter of the run. */
function limited(policy: EgressPolicy, verdict: ConnectVerdict, host: string): ConnectVerdict {
  const decision =
    verdict.decision.allow && judgeName(policy, host).wildcard
      ? judgeLabel(host, GATEWAY_LIMITS.wildcardLabel)
      : verdict.decision;
  return decision.allow ? verdict : { ...verdict, decision };
}

function answer(
  options: PolicyOptions,
  decision: Decision,
  asked: { host: string; port: number; method?: string; path?: string } | undefined,
): number {
  const line = decision.allow || asked === undefined ? undefined : wouldAllow(asked, decision);
  if (options.json === true) {
    options.stdout.write(`${JSON.stringify({ ...decision, ...(line === undefined ? {} : { wouldAllow: line }) })}\n`);
  } else if (decision.allow) options.stdout.write(`allow: ${decision.rule}\n`);
  else options.stdout.write(`deny: ${decision.reason} (${decision.rule})\n${line === undefined ? '' : `  ${line}\n`}`);
  return decision.allow ? 0 : 1;
}

/** `cofferdam policy explain`: the effective rules, and where each came from. */
export async function policyExplainCommand(options: PolicyOptions): Promise<number> {
  const { egress, loaded } = await settle(options);
  const registries = await knownRegistries(registriesFile(options.environment.dataDir));
  const used = Object.entries(registries).filter(([name]) => egress.rules.some((rule) => rule.registry === name));
  const { mayAdd } = loaded.policy.egress;
  if (options.json === true) {
    options.stdout.write(`${JSON.stringify({ ...egress, mayAdd, registries: Object.fromEntries(used) })}\n`);
    return 0;
  }
  const lines = [
    `policy: ${loaded.source}`,
    ...(egress.rules.length === 0 ? ['no host may be reached'] : egress.rules.flatMap(describe)),
    ...egress.deny.map((pattern) => `never ${pattern}`),
    ...mayAdd.map((entry) => `a repository may add ${nameOf(entry)}`),
    ...used.map(([name, { by, at, digest }]) => `${name}: named by the ${SAID_BY[by]} at ${at}, digest ${digest}`),
  ];
  options.stdout.write(`${lines.join('\n')}\n`);
  return 0;
}

const SAID_BY = { policy: 'policy', image: 'client in the sandbox image', host: 'client of this host' } as const;

function describe(rule: EgressPolicy['rules'][number]): string[] {
  const flags = (['allowPrivate', 'passThrough', 'upgrade', 'unsafe'] as const).filter((flag) => rule[flag] === true);
  const credential = rule.credential === undefined ? [] : [`credential from ${rule.credential.valueEnv}`];
  const only = rule.redirected === true ? ' (only addresses that an allowed answer has just named)' : '';
  return [
    `${rule.host}:${(rule.ports ?? DEFAULT_PORTS).join(',')}  (${rule.source})`,
    rule.passThrough === true
      ? '    TLS is passed through: methods and paths are not seen'
      : `    ${(rule.methods ?? DEFAULT_METHODS).join(' ')} ${rule.paths?.join(' ') ?? '/**'}${only}`,
    ...(flags.length + credential.length === 0 ? [] : [`    ${[...flags, ...credential].join(', ')}`]),
  ];
}

function nameOf(entry: EgressEntry): string {
  return typeof entry === 'string' ? entry : entry.host;
}

/** The policy of a run of this repository. The machine is only touched when a preset has to be resolved. */
async function settle(options: PolicyOptions): Promise<{ egress: EgressPolicy; loaded: LoadedPolicy }> {
  const { environment, signal } = options;
  const loaded = await loadPolicy(options.policy ?? environment.policyFile, environment.github);
  const entries = settleEgress(loaded, parseRepositoryFile(await repositoryText(options.repositoryFile)));
  const needsMachine = entries.some(({ entry }) => typeof entry === 'string' && entry !== 'github');
  const rules = needsMachine
    ? await resolved(options, loaded, entries)
    : entries.flatMap(({ entry, source }) => (typeof entry === 'string' ? [] : [{ ...entry, source }]));
  signal.throwIfAborted();
  const settled = { rules, deny: loaded.policy.egress.deny, gitRepositories: ownRepository(options) };
  // As the gateway does.
  const egress = withGithubAssets(settled);
  const problems = lintPolicy(egress);
  if (problems.length > 0) {
    const text = problems.map(({ rule, message }) => `${rule}: ${message}`).join('\n');
    throw new CofferdamError('policy', 'cli.policy', text);
  }
  return { egress, loaded };
}

function ownRepository({ repository }: PolicyOptions): string[] {
  if (repository === undefined) return [];
  if (/^[A-Za-z0-9-]{1,39}\/[A-Za-z0-9._-]{1,100}$/.test(repository)) return [repository.toLowerCase()];
  throw new CofferdamError('usage', 'cli.policy', '--repository is OWNER/NAME, such as octo/hello');
}

async function repositoryText(file: string | undefined): Promise<string | null> {
  if (file === undefined) return null;
  return readFile(file, 'utf8').catch((cause: unknown) => {
    throw new CofferdamError('usage', 'cli.policy', `cannot read the repository's file ${file}`, cause);
  });
}

async function resolved(
  options: PolicyOptions,
  policy: LoadedPolicy,
  entries: ReturnType<typeof settleEgress>,
): Promise<EgressPolicy['rules']> {
  const { dataDir } = options.environment;
  const { signal } = options;
  await dataDirectory(dataDir);
  const machine = await prepareMachine({
    runtime: policy.policy.sandbox.runtime,
    processRecord: policy.policy.sandbox.processRecord,
    onProgress: machineProgress(),
    signal,
  });
  const kernel = createKernelRecorder();
  try {
    const installation = await installationId(dataDir);
    const egress = await createEgress({ policy, machine, installation, dataDir, kernel });
    return await egress(entries, signal);
  } finally {
    await kernel.close();
    await machine.release();
  }
}
