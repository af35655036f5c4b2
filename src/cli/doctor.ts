import { readdir, statfs } from 'node:fs/promises';
import path from 'node:path';
import { loadPolicy } from '../config/policy-file.ts';
import { missing, type Environment } from '../config/environment.ts';
import { toRunError } from '../domain/errors.ts';
import { SandboxSettings } from '../domain/policy.ts';
import { ensureMachineDirectory, machinePaths } from '../local/machine/directory.ts';
import type { MachinePaths } from '../local/machine/directory.ts';
import { socketOf } from '../local/machine/docker.ts';
import { answers } from '../local/machine/engine.ts';
import { candidateSockets } from '../local/machine/existing.ts';
import { findProgram } from '../local/machine/packages.ts';
import { findRunsc, isRecentRunsc, OLDEST_RUNSC } from '../local/machine/runsc.ts';
import { runtimeFragment, writeKernelSession } from '../local/machine/runtime-entry.ts';
import { createKernelRecorder } from '../main/kernel-client.ts';
import { checkSandboxHost } from '../sandbox/doctor.ts';

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

/** What the sandbox room says of the Docker that runs would use, or what a private one is made of. */
async function docker(environment: Environment, settings: SandboxSettings): Promise<Finding[]> {
  const paths = machinePaths();
  await ensureMachineDirectory(paths);
  // The entry that is shown names this file.
  await writeKernelSession(paths.kernel);
  const sockets = candidateSockets(environment.dockerHost).map((address) => socketOf(address) ?? address);
  for (const dockerSocket of [...sockets, paths.engineSocket]) {
    if (await answers(dockerSocket)) return lookAt(dockerSocket, paths, settings);
  }
  const root = process.getuid?.() === 0;
  const runsc = await findRunsc(paths).catch(() => undefined);
  const dockerd = await findProgram('dockerd');
  const entry = runtimeFragment({ runtime: settings.runtime, kernelDir: paths.kernel });
  return [
    {
      name: 'docker',
      ok: root && dockerd !== undefined,
      found: `none answers at ${sockets.join(', ')}; ${dockerd === undefined ? 'no dockerd' : `a private one can be started with ${dockerd}`}`,
      needed: `a Docker whose runtime "${settings.runtime}" is gVisor, or root and dockerd for a private one`,
      fix: root
        ? 'apt-get install docker.io (exec and demo do it by themselves)'
        : `add to /etc/docker/daemon.json, with the path of your runsc: ${entry}; or run as root`,
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

async function lookAt(dockerSocket: string, paths: MachinePaths, settings: SandboxSettings): Promise<Finding[]> {
  const kernel = createKernelRecorder();
  try {
    const found = await checkSandboxHost({
      dockerSocket,
      installation: 'doctor',
      toolboxDir: await anyToolbox(paths.toolbox),
      settings,
      kernel,
      runtimeEntry: runtimeFragment({ runtime: settings.runtime, kernelDir: paths.kernel }),
    });
    // The image is made by the first command that needs it.
    return found.map((finding) =>
      finding.name === 'image' && !finding.ok
        ? { ...finding, optional: true, fix: `${finding.fix} (exec and demo do it by themselves)` }
        : finding,
    );
  } finally {
    await kernel.close();
  }
}

/** One that an earlier command made. */
async function anyToolbox(root: string): Promise<string | undefined> {
  const names = await readdir(root).catch(() => []);
  const name = names.find((candidate) => /^[0-9a-f]{12}$/.test(candidate));
  return name === undefined ? undefined : path.join(root, name);
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

async function policy(environment: Environment): Promise<{ finding: Finding; settings: SandboxSettings }> {
  try {
    const loaded = await loadPolicy(environment.policyFile, environment.github);
    return {
      finding: { name: 'policy', ok: true, found: loaded.source, needed: 'a valid policy file', fix: '' },
      settings: loaded.policy.sandbox,
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
      settings: SandboxSettings.parse({}),
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
  const { finding, settings } = await policy(environment);
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
    ...(await docker(environment, settings)),
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
