import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { toRunError } from '../../src/domain/errors.ts';
import { SandboxSettings } from '../../src/domain/policy.ts';
import { executeCommand, type CommandJob } from '../../src/run/command.ts';
import { JOB, SPEC, world } from './fakes.ts';

const job: CommandJob = {
  ...JOB,
  argv: ['true'],
  user: 'agent',
  env: {},
  policy: SPEC.policy,
  llm: false,
  limits: SPEC.limits,
  settings: SandboxSettings.parse({}),
  manifest: {},
  stdout: new PassThrough(),
  stderr: new PassThrough(),
};

test('the record of a command is closed, also when its last line cannot be written', async () => {
  const whole = world();
  expect(await run(whole)).toEqual({ state: 'succeeded', closed: 1 });
  const lines = whole.audit.length;
  for (const auditFailsAt of [0, lines - 1, lines]) {
    expect(await run(world({ auditFailsAt })), `line ${auditFailsAt}`).toEqual({ state: 'audit', closed: 1 });
  }
});

async function run({ ports }: ReturnType<typeof world>): Promise<{ state: string; closed: number }> {
  let closed = 0;
  const openAudit: typeof ports.openAudit = async (runId) => {
    const log = await ports.openAudit(runId);
    return { ...log, close: () => ((closed += 1), log.close()) };
  };
  const done = executeCommand({ ...ports, openAudit }, job, new AbortController().signal);
  const state = await done.then(
    (result) => result.state,
    (thrown: unknown) => toRunError(thrown, 'test').code,
  );
  return { state, closed };
}
