import { AGENT_IDS, configurationOf } from '../agent/agents.ts';
import { pastCosts } from '../audit/costs.ts';
import { hiddenContentNotes, type HiddenContentNote } from '../command/notes.ts';
import { taskPrompt } from '../command/prompt.ts';
import { requireSettings, type Environment } from '../config/environment.ts';
import { digestText, loadPolicy, type LoadedPolicy } from '../config/policy-file.ts';
import { checkRepositoryFile } from '../config/repository-file.ts';
import { settleEgress, type SettledEntry } from '../config/settle.ts';
import {
  MAX_REPOSITORY_FILE,
  REPOSITORY_FILE,
  type EffectiveSettings,
  type RepositoryProblem,
} from '../domain/configuration.ts';
import { CofferdamError } from '../domain/errors.ts';
import { freezeText } from '../domain/freeze.ts';
import type { Actor, RepoRef } from '../domain/run.ts';
import type { AgentConfiguration } from '../domain/shown.ts';
import type { OperatorPolicy } from '../domain/policy.ts';
import type { Trigger } from '../domain/trigger.ts';
import { priceTable } from '../gateway/llm/prices.ts';
import { createGitHub } from '../github/github.ts';
import type { ThreadFacts } from '../github/look.ts';
import type { GitHubRepository } from '../github/repository.ts';
import { auditDirectory } from '../main/live-audit.ts';
import { digestBytes } from '../main/steering.ts';
import { expectedCost, type ExpectedCost } from '../policy/llm/expect.ts';
import { findPrice } from '../policy/llm/prices.ts';
import { planProvider } from '../policy/llm/providers.ts';
import { previewTrigger, type TriggerPreview } from '../run/trigger/preview.ts';
import { planReport } from './plan-report.ts';

export interface PlanOptions {
  /** `OWNER/REPO#N`. */
  target: string;
  as: string;
  policy?: string | undefined;
  json?: boolean | undefined;
  environment: Environment;
  stdout: { write(text: string): unknown };
}

/** Everything that a run would be made of, as it is now. */
export interface RunPlan {
  repository: RepoRef;
  thread: ThreadFacts;
  actor: Actor;
  preview: TriggerPreview;
  hidden: HiddenContentNote[];
  /** The text that the agent would be given: its size and its hash. */
  task: { characters: number; sha256: string };
  policy: { source: string; digest: string };
  /** Of the repository's file; its place is always the default branch. */
  configuration: 'missing' | 'valid' | { problems: RepositoryProblem[] };
  /** Absent when the repository's file is not valid: a run would be refused. */
  rules?: {
    settings: EffectiveSettings;
    ways: SettledEntry[];
    deny: string[];
    expected: ExpectedCost | undefined;
    /** What the default branch configures the agent with; undefined: too many files to look at. */
    agentFiles: AgentConfiguration['files'] | undefined;
  };
}

/**
 * `cofferdam plan`: who would be obeyed, what the agent would see, and under which rules and caps, as if the label were put on now.
 * Asks no model and writes nothing to GitHub. 0: a run would begin; 1: it would be refused. Errors: `usage`, `config`, `policy`, `github`.
 */
export async function planCommand(options: PlanOptions): Promise<number> {
  const at = readTarget(options.target);
  const login = readLogin(options.as);
  const environment = requireSettings(options.environment, ['APP_ID', 'PRIVATE_KEY']);
  const loaded = await loadPolicy(policyFile(options));
  const { appId, privateKey } = environment;
  const github = createGitHub({ baseUrl: environment.github.apiUrl, appId, privateKey });
  const installationId = await github.installationOf(at);
  if (installationId === null) {
    throw usage(`the App is not installed on ${at.owner}/${at.name}, or there is no such repository`);
  }
  const repository = github.repository({ installationId, ...at });
  const plan = await look({ repository, loaded, environment, installationId, login, number: at.number });
  options.stdout.write(options.json === true ? `${JSON.stringify(plan)}\n` : planReport(plan));
  return refused(plan) ? 1 : 0;
}

function refused({ preview, rules, thread }: RunPlan): boolean {
  return !preview.decision.allow || rules === undefined || (thread.isPull && preview.pull?.open !== true);
}

function usage(message: string): CofferdamError {
  return new CofferdamError('usage', 'cli.plan', message);
}

function readTarget(target: string): { owner: string; name: string; number: number } {
  const [, owner, name, number] =
    /^([A-Za-z0-9._-]{1,100})\/([A-Za-z0-9._-]{1,100})#([1-9]\d{0,9})$/.exec(target) ?? [];
  if (owner === undefined || name === undefined || number === undefined) {
    throw usage(
      `"${target}" is no issue or pull request; write OWNER/REPO#NUMBER, in quotes: the shell takes # otherwise`,
    );
  }
  return { owner, name, number: Number(number) };
}

function readLogin(as: string): string {
  const login = as.replace(/^@/, '');
  if (/^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,60})(?:\[bot\])?$/.test(login)) return login;
  throw usage(`--as "${as}" is no login`);
}

function policyFile({ policy, environment }: PlanOptions): string {
  const file = policy ?? environment.policyFile;
  if (file !== undefined) return file;
  throw new CofferdamError('config', 'cli.plan', 'no policy: set COFFERDAM_POLICY or name one with --policy');
}

interface Look {
  repository: GitHubRepository;
  loaded: LoadedPolicy;
  environment: Environment;
  installationId: number;
  login: string;
  number: number;
}

async function look(parts: Look): Promise<RunPlan> {
  const { repository, loaded, number } = parts;
  const [described, thread, person] = await Promise.all([
    repository.describe(),
    repository.thread(number),
    repository.person(parts.login),
  ]);
  if (thread === null)
    throw usage(`there is no issue or pull request ${number} in ${described.owner}/${described.name}`);
  if (person === null) throw usage(`GitHub knows no account "${parts.login}"`);
  const trigger = labelled({ thread, repository: described, actor: person, installationId: parts.installationId });
  const [preview, configuration] = await Promise.all([
    previewTrigger(repository, trigger, loaded.policy.askers),
    repositoryFileOf(repository, described, loaded),
  ]);
  const { source, actor, commands } = trigger;
  const input = { texts: preview.texts, frozenAt: trigger.happenedAt };
  const [command] = commands;
  const task = command === undefined ? '' : taskPrompt({ actor, command, source, input, pull: preview.pull });
  const { settings, ...rest } = configuration;
  const rules = settings === undefined ? {} : { rules: await rulesOf(parts, described, settings) };
  return {
    repository: described,
    thread,
    actor,
    preview,
    hidden: hiddenContentNotes(input),
    task: { characters: task.length, sha256: digestText(task) },
    policy: { source: loaded.source, digest: loaded.digest },
    ...rest,
    ...rules,
  };
}

/** The label put on now, by this person. */
function labelled(facts: { thread: ThreadFacts; repository: RepoRef; actor: Actor; installationId: number }): Trigger {
  const { thread, repository, actor, installationId } = facts;
  const { id, number, title, body, author, authorId, updatedAt, isPull, url } = thread;
  return {
    deliveryId: 'plan',
    event: 'issues.labeled',
    key: 'plan',
    installationId,
    repo: repository,
    source: { number, title, isPull, url },
    actor,
    commands: [{ verb: 'run', text: '', flags: {} }],
    problems: [],
    texts: [freezeText({ kind: isPull ? 'pull' : 'issue', id, author, authorId, updatedAt, title, body })],
    happenedAt: new Date().toISOString(),
  };
}

async function repositoryFileOf(
  repository: GitHubRepository,
  { defaultBranch }: RepoRef,
  loaded: LoadedPolicy,
): Promise<Pick<RunPlan, 'configuration'> & { settings?: EffectiveSettings }> {
  const head = await repository.headOf(defaultBranch);
  const file =
    head === null ? null : await repository.fileAt(head, { path: REPOSITORY_FILE, maxBytes: MAX_REPOSITORY_FILE });
  if (file !== null && 'problem' in file) {
    return { configuration: { problems: [{ line: 1, column: 1, message: file.problem }] } };
  }
  const checked = checkRepositoryFile(file?.text ?? null, { policy: loaded, agents: AGENT_IDS });
  if ('problems' in checked) return { configuration: { problems: checked.problems } };
  return { configuration: file === null ? 'missing' : 'valid', settings: checked.effective };
}

async function rulesOf(
  { loaded, environment, repository }: Look,
  { owner, name, defaultBranch }: RepoRef,
  settings: EffectiveSettings,
): Promise<NonNullable<RunPlan['rules']>> {
  const { policy } = loaded;
  const model = settings.model ?? '';
  const past = await pastCosts(auditDirectory(environment.dataDir), {
    repository: `${owner}/${name}`,
    model,
    most: 20,
  });
  const plans = Object.entries(policy.llm.providers).flatMap(([id, provider]) => {
    const planned = planProvider(id, provider);
    return planned.ok ? [planned.plan] : [];
  });
  const [provider = '', ...rest] = model.split('/');
  const prices = priceTable({ providers: plans, prices: policy.llm.prices, at: new Date() });
  return {
    settings,
    ways: settleEgress(loaded, { egress: { allow: settings.added } }),
    deny: policy.egress.deny,
    agentFiles: await agentFilesOf(repository, { defaultBranch, agent: settings.agent, policy }),
    expected: expectedCost({
      past: past.map(({ cost }) => cost),
      price: findPrice(prices, provider, rest.join('/')),
      cap: settings.limits.maxCost,
    }),
  };
}

const MOST_AGENT_FILES = 200;

async function agentFilesOf(
  repository: GitHubRepository,
  options: { defaultBranch: string; agent: string; policy: OperatorPolicy },
): Promise<AgentConfiguration['files'] | undefined> {
  const { defaultBranch, agent, policy } = options;
  const head = await repository.headOf(defaultBranch);
  if (head === null) return [];
  const found = await repository.filesUnder(head, configurationOf(agent), MOST_AGENT_FILES);
  if (found === undefined) return undefined;
  const files = [...found].map(([path, bytes]) => {
    const sha256 = bytes === null ? null : digestBytes(bytes);
    return { path, sha256, allowed: sha256 !== null && policy.agents.allowConfiguration.includes(sha256) };
  });
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}
