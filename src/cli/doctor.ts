import { statfs } from 'node:fs/promises';
import { loadPolicy } from '../config/policy-file.ts';
import { missing, type Environment } from '../config/environment.ts';
import { toRunError } from '../domain/errors.ts';
import { machinePaths } from '../local/machine/directory.ts';
import { findExistingDocker } from '../local/machine/existing.ts';
import { findProgram } from '../local/machine/packages.ts';
import { findRunsc, isRecentRunsc, OLDEST_RUNSC } from '../local/machine/runsc.ts';

interface Finding {
  name: string;
  ok: boolean;
  /** Only needed for the App: `exec` and `run` work without it. */
  optional?: true;
  found: string;
  needed: string;
  fix: string;
}

const MIN_FREE = 5 * 2 ** 30;

async function program(name: string, needed: string, fix: string): Promise<Finding> {
  const path = await findProgram(name);
  return { name, ok: path !== undefined, found: path ?? 'nothing', needed, fix };
}

/** An existing Docker that passes the probe, or what a private one is made of. */
async function docker(environment: Environment, runtime: string): Promise<Finding[]> {
  const paths = machinePaths();
  const { found, passedOver } = await findExistingDocker({
    dockerHost: environment.dockerHost,
    runtime,
    work: paths.work,
    note: () => undefined,
  });
  if (found)
    return [
      {
        name: 'docker with gVisor',
        ok: true,
        found: `${found.socket}, gVisor ${found.runsc}`,
        needed: `a Docker whose runtime "${runtime}" is gVisor`,
        fix: '',
      },
    ];
  const root = process.getuid?.() === 0;
  const runsc = await findRunsc(paths).catch(() => undefined);
  const dockerd = await findProgram('dockerd');
  return [
    {
      name: 'docker with gVisor',
      ok: root && dockerd !== undefined,
      found: `no usable Docker (${passedOver.join('; ')}); ${dockerd === undefined ? 'no dockerd' : `a private one can be started with ${dockerd}`}`,
      needed: `a Docker whose runtime "${runtime}" is gVisor, or root and dockerd for a private one`,
      fix: root
        ? 'apt-get install docker.io (exec and demo do it by themselves)'
        : `register runsc as the runtime "${runtime}" in /etc/docker/daemon.json, or run as root`,
    },
    {
      name: 'runsc',
      ok: runsc !== undefined && isRecentRunsc(runsc.version),
      found: runsc === undefined ? 'nothing' : runsc.version,
      needed: `gVisor's runsc, release ${OLDEST_RUNSC} or newer`,
      fix: 'apt-get install runsc (Debian’s backports or next release; exec and demo fetch it by themselves)',
    },
  ];
}

async function disk(environment: Environment): Promise<Finding> {
  const { bavail, bsize } = await statfs(environment.dataDir).catch(() => statfs('/'));
  const free = bavail * bsize;
  return {
    name: 'disk',
    ok: free >= MIN_FREE,
    found: `${(free / 2 ** 30).toFixed(1)} GiB free`,
    needed: '5 GiB free',
    fix: 'free space, or set COFFERDAM_DATA_DIR to a larger disk',
  };
}

async function policy(environment: Environment): Promise<{ finding: Finding; runtime: string }> {
  try {
    const loaded = await loadPolicy(environment.policyFile);
    return {
      finding: { name: 'policy', ok: true, found: loaded.source, needed: 'a valid policy file', fix: '' },
      runtime: loaded.policy.sandbox.runtime,
    };
  } catch (thrown) {
    return {
      finding: {
        name: 'policy',
        ok: false,
        found: toRunError(thrown, 'cli.doctor').message,
        needed: 'a valid policy file',
        fix: 'correct the named line',
      },
      runtime: 'cofferdam',
    };
  }
}

function app(environment: Environment): Finding {
  const absent = missing(environment, ['APP_ID', 'PRIVATE_KEY', 'WEBHOOK_SECRET', 'COFFERDAM_POLICY']);
  return {
    name: 'GitHub App',
    ok: absent.length === 0,
    optional: true,
    found: absent.length === 0 ? `App ${environment.appId ?? ''}` : `not set: ${absent.join(', ')}`,
    needed: 'its settings in the environment',
    fix: 'npm run -s cofferdam -- setup',
  };
}

/** `cofferdam doctor`: 0 when everything that `exec` needs is there, 1 otherwise. */
export async function doctorCommand(options: {
  json?: boolean | undefined;
  environment: Environment;
  stdout: { write(text: string): unknown };
}): Promise<number> {
  const { environment } = options;
  const { finding, runtime } = await policy(environment);
  const node = Number(process.versions.node.split('.')[0]);
  const findings: Finding[] = [
    {
      name: 'node',
      ok: node >= 24,
      found: process.version,
      needed: '24 or newer',
      fix: 'start it with npm run: that brings Node 24',
    },
    await program('git', 'git', 'apt-get install git'),
    ...(await docker(environment, runtime)),
    await program('redis-server', 'redis-server, or REDIS_URL', 'apt-get install redis-server'),
    await disk(environment),
    finding,
    app(environment),
  ];
  const ok = findings.every((f) => f.ok || f.optional === true);
  if (options.json === true) options.stdout.write(`${JSON.stringify({ ok, findings })}\n`);
  else
    for (const f of findings)
      options.stdout.write(
        `${f.ok ? '✓' : f.optional === true ? '–' : '✗'} ${f.name}: ${f.found}${f.ok ? '' : `\n    needed: ${f.needed}\n    fix:    ${f.fix}`}\n`,
      );
  return ok ? 0 : 1;
}
