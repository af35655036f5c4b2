import { access, readFile } from 'node:fs/promises';
import type { Environment } from '../config/environment.ts';
import { auditPaths } from '../audit/logs.ts';
import { describeRemoval, findRemoval } from '../audit/removal.ts';
import { pinnedKey } from '../audit/seal.ts';
import { VERIFY_EXIT, verifyAuditFile, type VerifyResult } from '../audit/verify.ts';
import { CofferdamError } from '../domain/errors.ts';
import { RunId } from '../domain/ids.ts';
import { auditDirectory } from '../main/live-audit.ts';
import { terminalLine } from './terminal.ts';
import { describePull, parsePullUrl, verifyPull } from './verify-pull.ts';

/** A file, or a run id whose file is in the data directory. Errors: `usage`, which says so when it was removed by age or size. */
export async function locate(target: string, dataDir: string): Promise<string> {
  const id = RunId.safeParse(target);
  const file = id.success ? auditPaths(auditDirectory(dataDir), id.data).log : target;
  await access(file).catch(async (cause: unknown) => {
    const removal = id.success ? await findRemoval(auditDirectory(dataDir), id.data) : null;
    if (removal !== null) throw new CofferdamError('usage', 'cli.verify', describeRemoval(removal), cause);
    const what = id.success
      ? `there is no audit file of run ${id.data} in ${auditDirectory(dataDir)}: set COFFERDAM_DATA_DIR to the data directory of the worker that ran it, or give the file`
      : `cannot read ${file}: give an audit file, a run id or the address of a pull request`;
    throw new CofferdamError('usage', 'cli.verify', what, cause);
  });
  return file;
}

/** The key that was given, else the one this installation made, else none. */
async function publicKey(given: string | undefined, dataDir: string): Promise<string | undefined> {
  if (given !== undefined) {
    return readFile(given, 'utf8').catch((cause: unknown) => {
      throw new CofferdamError('usage', 'cli.verify', `cannot read the key ${given}`, cause);
    });
  }
  return pinnedKey(dataDir);
}

function describe(file: string, result: VerifyResult): string {
  const head = `${result.lines} lines, run ${result.runId ?? 'unknown'}, head ${result.head ?? 'none'}`;
  switch (result.verdict) {
    case 'valid':
      return `valid: chain, seal and signature (${head})`;
    case 'unsigned':
      return `chain consistent, signature not checked: give the installation's public key with --key (${head})`;
    case 'unsealed':
      return `chain consistent, but there is no seal beside it: the run has not ended or the end was removed (${head})`;
    case 'broken':
      return `broken at ${file}:${result.problem?.line ?? 0}: ${terminalLine(result.problem?.message ?? '')}`;
  }
}

/** `cofferdam verify`: 0 valid, 1 broken, 2 unreadable, 3 signature not checked, 4 no seal. */
export async function verifyCommand(options: {
  target: string;
  key?: string | undefined;
  json?: boolean | undefined;
  environment: Environment;
  stdout: { write(text: string): unknown };
}): Promise<number> {
  const { environment, stdout } = options;
  const { dataDir } = environment;
  const key = await publicKey(options.key, dataDir);
  const pull = parsePullUrl(options.target, environment.github.webUrl);
  if (pull !== undefined) {
    const { compared, exitCode } = await verifyPull({ pull, environment, key });
    stdout.write(`${options.json === true ? JSON.stringify({ pull, compared }) : describePull(compared).join('\n')}\n`);
    return exitCode;
  }
  const file = await locate(options.target, dataDir);
  const result = await verifyAuditFile({ file, ...(key === undefined ? {} : { key }) });
  stdout.write(`${options.json === true ? JSON.stringify({ file, ...result }) : describe(file, result)}\n`);
  return VERIFY_EXIT[result.verdict];
}
