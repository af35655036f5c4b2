import { PassThrough } from 'node:stream';
import { z } from 'zod';
import type { SandboxReceipt } from '../run/ports.ts';
import { execute } from './exec.ts';
import type { ExecContext } from './exec.ts';
import type { ContainerFacts } from './docker.ts';
import { SOCKET_MOUNT, TOOLBOX } from './layout.ts';
import type { HostView } from './sandbox.ts';

// Trust: the script is the toolbox's and runs before anything of the image does; its answer is parsed strictly all the same.

const LIMIT_MS = 60_000;
const MAX_ANSWER = 65_536;

const Check = z.strictObject({
  name: z.string().regex(/^[a-z_]{1,40}$/),
  ok: z.boolean(),
  observed: z.string().max(2000),
});
const Answer = z.strictObject({ checks: z.array(Check).min(1).max(50) });
type Check = z.infer<typeof Check>;

/** What the script must report on; an answer that leaves one out is a failed test. */
const EXPECTED = [
  'gvisor',
  'capabilities',
  'interfaces',
  'blocked_name',
  'raw_address',
  'metadata_address',
  'foreign_resolver',
  'sockets',
] as const;

/** A limit that nobody holds is none, so `none` ends the run. */
const DISK: Record<HostView['disk'], string> = {
  watched: 'watched',
  tmpfs: 'tmpfs: exact',
  none: "not visible from here: show Docker's data directory to this process, or set sandbox.diskMode to tmpfs",
};

/** Runs the proof as the agent and as root, and adds what Docker says about the container. Any surprise makes `ok` false. */
export async function selfTest(options: {
  context: ExecContext;
  facts: ContainerFacts;
  view: HostView;
  signal: AbortSignal;
}): Promise<SandboxReceipt> {
  const { context, facts, view, signal } = options;
  const checks = [...containerChecks(facts)];
  for (const user of ['agent', 'root'] as const) {
    const found = await inside(context, user, signal);
    checks.push(...found.map((check) => ({ ...check, name: `${user}.${check.name}` })));
  }
  checks.push({ name: 'host.disk', ok: view.disk !== 'none', observed: DISK[view.disk] });
  // Said, not judged: without it a sandbox that no longer answers takes its host out of service.
  checks.push({ name: 'host.processes', ok: true, observed: view.processes ? 'visible' : 'not visible from here' });
  return { ok: checks.every((check) => check.ok), checks };
}

async function inside(context: ExecContext, user: 'agent' | 'root', signal: AbortSignal): Promise<Check[]> {
  const stdout = new PassThrough();
  let text = '';
  stdout.on('data', (piece: Buffer) => {
    if (text.length < MAX_ANSWER) text += piece.toString('utf8');
  });
  // Of the image's variables none: the script has to be what it is.
  const clean = { ...context, imageEnv: [], gitBase: undefined, ca: false };
  const argv = [...TOOLBOX.node, TOOLBOX.selfTest];
  const result = await execute(clean, { argv, user, cwd: '/', stdout, stderr: stdout, timeoutMs: LIMIT_MS, signal });
  const parsed = result.exitCode === 0 ? parseAnswer(text) : undefined;
  if (parsed === undefined) {
    return [{ name: 'answer', ok: false, observed: `exit ${result.exitCode}: ${text.slice(0, 500)}` }];
  }
  const missing = EXPECTED.filter((name) => !parsed.some((check) => check.name === name));
  return [...parsed, ...missing.map((name) => ({ name, ok: false, observed: 'not reported' }))];
}

function parseAnswer(text: string): Check[] | undefined {
  try {
    return Answer.parse(JSON.parse(text)).checks;
  } catch {
    return undefined;
  }
}

function containerChecks(facts: ContainerFacts): Check[] {
  const { HostConfig: host, Mounts: mounts } = facts;
  const targets = mounts.map((mount) => mount.Destination).toSorted();
  const dropped = (host.CapDrop ?? []).some((name) => name.toUpperCase() === 'ALL');
  return [
    { name: 'container.network', ok: host.NetworkMode === 'none', observed: host.NetworkMode },
    {
      name: 'container.capabilities',
      ok: dropped && (host.CapAdd ?? []).length === 0 && !host.Privileged,
      observed: `dropped ${(host.CapDrop ?? []).join(',')}, added ${(host.CapAdd ?? []).join(',')}`,
    },
    {
      name: 'container.mounts',
      ok:
        targets.join(' ') === [TOOLBOX.mount, SOCKET_MOUNT].toSorted().join(' ') &&
        mounts.every((mount) => mount.Type === 'bind' && !mount.RW) &&
        (host.Binds ?? []).length === 0 &&
        (host.Devices ?? []).length === 0,
      observed: mounts.map((mount) => `${mount.Destination} ${mount.RW ? 'rw' : 'ro'}`).join(', '),
    },
    { name: 'container.runtime', ok: host.Runtime !== 'runc', observed: host.Runtime },
  ];
}
