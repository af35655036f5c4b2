import { join } from 'node:path';
import { describeRemoval, findRemoval } from '../audit/removal.ts';
import { VERIFY_EXIT, verifyAuditFile, type VerifyResult } from '../audit/verify.ts';
import type { Environment } from '../config/environment.ts';
import { requireSettings } from '../config/environment.ts';
import { CofferdamError } from '../domain/errors.ts';
import { RunId } from '../domain/ids.ts';
import { pullEvidence, type PullEvidence } from '../github/evidence.ts';
import { terminalLine } from './terminal.ts';

/** One commit of a pull request that names a run, compared with that run's audit file. */
interface Compared {
  sha: string;
  runId: string;
  file: string;
  verdict: VerifyResult['verdict'] | 'missing';
  /** What does not agree; empty when everything does. */
  problems: string[];
}

/** `https://host/owner/name/pull/N`, or a page below it, on the configured GitHub; undefined for anything that is no address. */
export function parsePullUrl(
  target: string,
  webUrl: string,
): { owner: string; name: string; number: number } | undefined {
  if (!/^https?:\/\//.test(target) || !URL.canParse(target)) return undefined;
  const url = new URL(target);
  const [, owner, name, number] = /^\/([\w.-]+)\/([\w.-]+)\/pull\/(\d+)(?:\/.*)?$/.exec(url.pathname) ?? [];
  if (url.origin !== new URL(webUrl).origin || owner === undefined || name === undefined || number === undefined)
    throw new CofferdamError(
      'usage',
      'cli.verify',
      `${target} is no pull request of ${webUrl}; is GHE_HOST set as for the server?`,
    );
  return { owner, name, number: Number(number) };
}

/** The last value of a trailer. */
function trailer(message: string, name: string): string | undefined {
  const lines = message.trimEnd().split('\n');
  return lines
    .findLast((line) => line.startsWith(`${name}: `))
    ?.slice(name.length + 2)
    .trim();
}

/** What of this does not agree. Pure, so that each disagreement can be tested. */
export function disagreements(
  commit: PullEvidence['commits'][number],
  runId: string,
  result: VerifyResult,
  checks: PullEvidence['checks'],
): string[] {
  const problems: string[] = [];
  const named = trailer(commit.message, 'Cofferdam-Audit');
  if (result.problem !== undefined) problems.push(`line ${result.problem.line}: ${result.problem.message}`);
  if (named === undefined) problems.push('the commit has no Cofferdam-Audit trailer');
  else if (!result.checkpoints.some((checkpoint) => checkpoint === named))
    problems.push(`the trailer names ${named}, which is no checkpoint of the file`);
  const sealed = result.subject?.['commit'];
  if (result.subject !== undefined && sealed !== commit.sha) problems.push(`the seal is of commit ${String(sealed)}`);
  const check = checks.find((one) => one.sha === commit.sha && one.externalId === runId);
  if (check === undefined) problems.push('the commit has no check run of this run');
  else if (result.head !== undefined && !check.summary.includes(result.head))
    problems.push('the check run does not carry the hash of the last line');
  return problems;
}

/** Compares every commit of a pull request that names a run with the audit files here. Exit codes as of `verify`; 2 when no commit names a run. */
export async function verifyPull(options: {
  pull: { owner: string; name: string; number: number };
  environment: Environment;
  key: string | undefined;
}): Promise<{ compared: Compared[]; exitCode: number }> {
  const environment = requireSettings(options.environment, ['APP_ID', 'PRIVATE_KEY']);
  const { appId, privateKey, github, dataDir } = environment;
  const evidence = await pullEvidence({ apiUrl: github.apiUrl, appId, privateKey, ...options.pull }).catch(
    (cause: unknown) => {
      // With its own exit code: that GitHub cannot be asked says nothing about the record.
      if (!(cause instanceof CofferdamError) || cause.code !== 'github') throw cause;
      const { owner, name, number } = options.pull;
      const what = `cannot read pull request ${owner}/${name}#${number} at ${github.apiUrl} as App ${appId}; is the App installed there? Its audit files can be checked one by one, by run id`;
      throw new CofferdamError('usage', 'cli.verifyPull', what, cause);
    },
  );
  const compared: Compared[] = [];
  for (const commit of evidence.commits) {
    const named = trailer(commit.message, 'Cofferdam-Run');
    if (named === undefined) continue;
    const runId = RunId.safeParse(named);
    const file = join(dataDir, 'audit', `${runId.success ? runId.data : 'unknown'}.jsonl`);
    const base = { sha: commit.sha, runId: named, file };
    if (!runId.success) {
      compared.push({ ...base, verdict: 'broken', problems: ['the Cofferdam-Run trailer is no run id'] });
      continue;
    }
    const result = await verifyAuditFile({ file, ...(options.key === undefined ? {} : { key: options.key }) }).catch(
      (thrown: unknown) => {
        if (thrown instanceof CofferdamError && thrown.code === 'usage') return null;
        throw thrown;
      },
    );
    if (result === null) {
      const removal = await findRemoval(join(dataDir, 'audit'), runId.data);
      const problem = removal === null ? 'its audit file is not here' : describeRemoval(removal);
      compared.push({ ...base, verdict: 'missing', problems: [problem] });
    } else
      compared.push({
        ...base,
        verdict: result.verdict,
        problems: disagreements(commit, runId.data, result, evidence.checks),
      });
  }
  return { compared, exitCode: exitCodeOf(compared) };
}

function exitCodeOf(compared: readonly Compared[]): number {
  if (compared.length === 0) return 2;
  if (compared.some((one) => one.verdict === 'missing')) return 2;
  if (compared.some((one) => one.problems.length > 0 || one.verdict === 'broken')) return VERIFY_EXIT.broken;
  const worst = compared.find((one) => one.verdict !== 'valid');
  return worst === undefined || worst.verdict === 'missing' ? 0 : VERIFY_EXIT[worst.verdict];
}

/** One line for each commit. */
export function describePull(compared: readonly Compared[]): string[] {
  if (compared.length === 0) return ['no commit of this pull request names a run'];
  // Trailers are what the author of a commit wrote.
  return compared.flatMap(({ sha, runId, verdict, problems }) => [
    `${sha.slice(0, 12)} ${terminalLine(runId, 80)}: ${problems.length === 0 ? `${verdict}: audit, commit and check run agree` : verdict}`,
    ...problems.map((problem) => `  ${terminalLine(problem, 300)}`),
  ]);
}
