import { spawn } from 'node:child_process';
import { Command, CommanderError } from 'commander';
import { CofferdamError, errorRow } from '../../domain/errors.ts';
import { machinePaths } from './directory.ts';
import { answers, enginePid } from './engine.ts';
import { stopEngineAsRoot } from './engine-root.ts';
import { dropKeptLease, liveLeases, takeKeptLease } from './lease.ts';
import { lockFile } from './lock.ts';
import { prepareMachine } from './machine.ts';
import type { Machine } from './machine.ts';
import { stopIfUnused } from './private-docker.ts';
import { progressLines } from './progress.ts';
import { findRunsc } from './runsc.ts';
import { TOOLBOX_AGENTS } from './toolbox.ts';

/* For people who work on Cofferdam: the machine that tests and commands use, by hand. Messages go to standard error. */

const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** The machine as environment variables: what tests and `cofferdam` read. */
export function machineEnvironment(machine: Machine): Record<string, string> {
  return {
    DOCKER_HOST: `unix://${machine.dockerSocket}`,
    COFFERDAM_TEST_RUNTIME: machine.runtime,
    COFFERDAM_TEST_IMAGE: machine.image.ref,
    COFFERDAM_TEST_TOOLBOX: machine.toolboxDir,
    COFFERDAM_TEST_REGISTRY_PRIVATE: String(machine.registryPrivate),
    ...(machine.redisServer === undefined ? {} : { COFFERDAM_TEST_REDIS_SERVER: machine.redisServer }),
    ...(machine.caFile === undefined ? {} : { COFFERDAM_TEST_CA_FILE: machine.caFile }),
  };
}

function prepare(): Promise<Machine> {
  return prepareMachine({ needs: { redis: true, agents: TOOLBOX_AGENTS }, onProgress: progressLines(say) });
}

function printEnvironment(machine: Machine): void {
  for (const [name, value] of Object.entries(machineEnvironment(machine))) process.stdout.write(`${name}=${value}\n`);
}

async function locked<T>(work: () => Promise<T>): Promise<T> {
  const unlock = await lockFile(machinePaths().lock, { onWait: () => say('waiting for another set-up') });
  try {
    return await work();
  } finally {
    await unlock();
  }
}

async function up(options: { keep?: boolean }): Promise<void> {
  const machine = await prepare();
  if (options.keep === true && machine.privateDocker) await locked(() => takeKeptLease(machinePaths().leases));
  printEnvironment(machine);
  await machine.release();
}

async function down(options: { force?: boolean }): Promise<void> {
  const paths = machinePaths();
  await locked(async () => {
    await dropKeptLease(paths.leases);
    if (options.force === true) await stopEngineAsRoot({ directory: paths.engine, socket: paths.engineSocket });
    const live = await stopIfUnused(paths);
    say(
      live.length === 0 || options.force === true
        ? 'stopped'
        : `still used: ${live.join(', ')} (--force stops it anyway)`,
    );
  });
}

async function status(): Promise<void> {
  const paths = machinePaths();
  const pid = await enginePid(paths.engine);
  const leases = await locked(() => liveLeases(paths.leases));
  const state = {
    directory: paths.root,
    docker: { socket: paths.engineSocket, pid: pid ?? null, answers: await answers(paths.engineSocket) },
    runsc: (await findRunsc(paths)) ?? null,
    leases,
  };
  process.stdout.write(`${JSON.stringify(state, null, 2)}\n`);
  if (pid === undefined) process.exitCode = 1;
}

async function withMachine(argv: string[]): Promise<void> {
  const machine = await prepare();
  const [file = '', ...args] = argv;
  const child = spawn(file, args, { stdio: 'inherit', env: { ...process.env, ...machineEnvironment(machine) } });
  // The terminal signals the child as well; this process must outlive it to give the machine back.
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => child.kill(name));
  process.exitCode = await new Promise<number>((resolve) => {
    child.once('error', (error) => {
      say(error.message);
      resolve(127);
    });
    child.once('close', (code) => resolve(code ?? 1));
  });
  await machine.release();
}

async function main(): Promise<void> {
  const program = new Command('machine')
    .description('the Docker, image and toolbox of this machine')
    .enablePositionalOptions()
    .exitOverride();
  program
    .command('up')
    .description('prepare everything and print it as environment variables')
    .option('--keep', 'leave the private Docker running until `down`')
    .action(up);
  program
    .command('env')
    .description('the same as `up`, without --keep')
    .action(() => up({}));
  program
    .command('down')
    .description('end what `up --keep` left')
    .option('--force', 'even if somebody uses it')
    .action(down);
  program
    .command('status')
    .description('what is there, as JSON; exit code 1 when the private Docker does not run')
    .action(status);
  program
    .command('with')
    .description('run a command with those variables set')
    .argument('<command...>')
    .passThroughOptions()
    .action(withMachine);
  try {
    await program.parseAsync();
  } catch (error) {
    process.exitCode = 1;
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : 2;
    else if (error instanceof CofferdamError) say(`${error.message}\n  ${errorRow(error.code).advice}`);
    else throw error;
  }
}

if (import.meta.main) await main();
