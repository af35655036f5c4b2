import { Command, CommanderError, Option } from 'commander';
import type { RunOptions } from '../cli/run.ts';
import { loadEnvironmentFile, readEnvironment, type Environment } from '../config/environment.ts';
import { CofferdamError, errorRow } from '../domain/errors.ts';
import { VERSION } from '../domain/version.ts';

/** `--env K=V`, repeated. */
function collectEnv(pair: string, all: Record<string, string>): Record<string, string> {
  const match = /^([A-Za-z_][A-Za-z0-9_]*)=(.*)$/s.exec(pair);
  if (!match) throw new CofferdamError('usage', 'main.cofferdam', `--env "${pair}": expected NAME=VALUE`);
  return { ...all, [match[1] ?? '']: match[2] ?? '' };
}

/** An abort signal that the first SIGINT or SIGTERM sets off; a second one ends the process at once. */
function stopSignal(): AbortSignal {
  const controller = new AbortController();
  const stop = (): void => {
    if (controller.signal.aborted) process.exit(130);
    process.stderr.write('stopping: cleaning up (again to end at once)\n');
    controller.abort();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  // `cofferdam start` is our parent and is gone.
  process.on('disconnect', stop);
  // Listening for its end must not keep this process alive.
  process.channel?.unref();
  return controller.signal;
}

/** What the installation on this machine is set to: commands about it must see what `setup` wrote, as `start` does. */
function installation(): Environment {
  loadEnvironmentFile();
  return readEnvironment();
}

/** A reader that has enough (`| head`) closes the pipe: that is no error. What reads only has nothing to clean up. */
function readerMayLeave(): void {
  process.stdout.once('error', (cause: NodeJS.ErrnoException) => {
    if (cause.code === 'EPIPE') process.exit(0);
    throw cause;
  });
}

function appOptions(): { environment: Environment; signal: AbortSignal } {
  return { environment: installation(), signal: stopSignal() };
}

function addAuditCommands(program: Command): void {
  const audit = program.command('audit').description('read, export and prune audit files');
  audit
    .command('show')
    .description('a run as a timeline')
    .argument('<run>', 'run id or audit file')
    .action(async (target: string) => {
      readerMayLeave();
      const { auditShowCommand } = await import('../cli/audit.ts');
      const { dataDir } = installation();
      process.exitCode = await auditShowCommand({ target, dataDir, stdout: process.stdout });
    });
  audit
    .command('export')
    .description('the stored lines; or, into a directory, all that is needed to check them elsewhere')
    .argument('<run>', 'run id or audit file')
    .option('--output <directory>', 'audit file, seal, patch and public key are copied into it')
    .action(async (target: string, options: { output?: string }) => {
      readerMayLeave();
      const { auditExportCommand } = await import('../cli/audit.ts');
      const { dataDir } = installation();
      process.exitCode = await auditExportCommand({ target, ...options, dataDir, stdout: process.stdout });
    });
  audit
    .command('prune')
    .description('remove sealed audit files by age and size, oldest first')
    .option('--days <count>', 'remove what is older')
    .option('--mib <count>', 'keep at most this much, in MiB')
    .action(async (options: { days?: string; mib?: string }) => {
      const { auditPruneCommand } = await import('../cli/audit.ts');
      const { dataDir } = installation();
      process.exitCode = await auditPruneCommand({ ...options, dataDir, stdout: process.stdout });
    });

  program
    .command('open')
    .description('print a link to one run’s page, signed and valid for minutes; or show an audit file on loopback')
    .argument('<run>', 'run id, or an audit file named <run id>.jsonl')
    .option('--minutes <count>', 'how long the link is valid', '15')
    .option('--serve', 'serve the page on loopback until stopped: for runs of this machine, without a server')
    .action(async (target: string, options: { minutes: string; serve?: boolean }) => {
      const { openCommand } = await import('../cli/open.ts');
      process.exitCode = await openCommand({
        target,
        ...options,
        environment: installation(),
        stdout: process.stdout,
        signal: stopSignal(),
      });
    });
}

function addPolicyCommands(program: Command): void {
  const policy = program.command('policy').description('ask what the egress policy allows');
  const common = (command: Command): Command =>
    command
      .option('--policy <file>', 'operator policy (default: COFFERDAM_POLICY)')
      .option('--repository-file <file>', 'a repository’s .github/cofferdam.yml, settled with the policy')
      .option('--repository <owner/name>', 'whose run is asked about: for rules about the run’s own repository')
      .option('--json', 'write the result as JSON');
  common(policy.command('test'))
    .description('would this be allowed? Prints allow or deny with the rule')
    .argument('<host[:port]>', 'port 443 when there is none')
    .argument('[method]', 'such as GET; without it, the connection is judged')
    .argument('[path]', 'such as /v1/things', '/')
    .addHelpText('after', '\nExit codes: 0 allowed, 1 denied, 2 wrong usage or policy.')
    .action(async (target: string, method: string | undefined, path: string, options: Record<string, never>) => {
      const { policyTestCommand } = await import('../cli/policy.ts');
      process.exitCode = await policyTestCommand({
        ...options,
        target,
        method,
        path,
        ...appOptions(),
        stdout: process.stdout,
      });
    });
  common(policy.command('explain'))
    .description('the effective rules, and where each came from')
    .action(async (options: Record<string, never>) => {
      readerMayLeave();
      const { policyExplainCommand } = await import('../cli/policy.ts');
      process.exitCode = await policyExplainCommand({ ...options, ...appOptions(), stdout: process.stdout });
    });
}

function build(): Command {
  const program = new Command('cofferdam');
  program
    .description('Runs coding agents in gVisor sandboxes with an allowlisted way out and hard limits of time and cost.')
    .version(VERSION)
    .enablePositionalOptions()
    .showHelpAfterError('(see --help)')
    .exitOverride();

  program
    .command('exec')
    .description('run a command in a fresh sandbox behind the gateway; its output and exit code pass through')
    .option('--policy <file>', 'operator policy (default: COFFERDAM_POLICY, else one that allows nothing)')
    .option('--timeout <duration>', 'time limit, such as 60s or 10m (default: the policy’s)')
    .option('--max-cost <dollars>', 'budget for model calls (default: the policy’s)')
    .option('--image <ref>', 'sandbox image')
    .addOption(new Option('--user <user>', 'who runs it inside').choices(['root', 'agent']).default('agent'))
    .option('--env <name=value>', 'environment variable, repeatable', collectEnv, {})
    .option('--json', 'write one JSON line about the run as the last line of standard output')
    .argument('<command...>', 'the command; put -- before it')
    .passThroughOptions()
    .addHelpText(
      'after',
      '\nExit codes: the command’s own; 124 time limit, 125 Cofferdam failed, 126 over budget, 130 stopped, 2 wrong usage.',
    )
    .action(async (argv: string[], options: Record<string, never>) => {
      const { execCommand } = await import('../cli/exec.ts');
      process.exitCode = await execCommand({ ...options, argv, environment: readEnvironment(), signal: stopSignal() });
    });

  program
    .command('run')
    .description('do one task on a local repository: the result is a branch in it and a patch file')
    .requiredOption('--repo <path-or-url>', 'repository')
    .requiredOption('--task <text>', 'what to do')
    .option('--agent <id>', 'agent (default: the repository’s or the policy’s)')
    .option('--model <provider/model>', 'model')
    .option('--policy <file>', 'operator policy (default: COFFERDAM_POLICY)')
    .option('--timeout <duration>', 'time limit')
    .option('--max-cost <dollars>', 'budget')
    .option('--output <file>', 'where the patch is written (default: <run id>.patch in the current directory)')
    .option('--json', 'write one JSON line about the run as the last line of standard output')
    .addHelpText(
      'after',
      '\nExit codes: 0 succeeded or unverified, 1 failed, 2 refused, 3 no change, 4 verification failed, 5 partial, 6 held, 124 timed out, 125 Cofferdam failed, 126 over budget, 130 cancelled.',
    )
    .action(async (options: Omit<RunOptions, 'environment' | 'signal'>) => {
      const { runCommand } = await import('../cli/run.ts');
      process.exitCode = await runCommand({
        ...(options as { repo: string; task: string }),
        environment: readEnvironment(),
        signal: stopSignal(),
      });
    });

  const missingNote =
    '\nSettings come from the environment and from .env in the current directory; docs/settings.md lists them.';
  program
    .command('start')
    .description('the GitHub App on this machine: server, worker and, without REDIS_URL, a private Redis')
    .addHelpText('after', missingNote)
    .action(async () => {
      const { startCommand } = await import('../cli/start.ts');
      process.exitCode = await startCommand(appOptions());
    });

  program
    .command('server')
    .description('the process that takes webhooks; needs WEBHOOK_SECRET, REDIS_URL, COFFERDAM_POLICY')
    .addHelpText('after', missingNote)
    .action(async () => {
      const { serverCommand } = await import('../cli/server.ts');
      process.exitCode = await serverCommand(appOptions());
    });

  program
    .command('worker')
    .description('a process that does runs; needs APP_ID, PRIVATE_KEY, REDIS_URL, COFFERDAM_POLICY')
    .addHelpText('after', missingNote)
    .action(async () => {
      const { workerCommand } = await import('../cli/worker.ts');
      process.exitCode = await workerCommand(appOptions());
    });

  program
    .command('verify')
    .description('check an audit file: chain, seal and signature; or a pull request against its audit files')
    .argument('<file>', 'audit file, run id, or the address of a pull request')
    .option('--key <file>', 'the installation’s public key (default: the one in COFFERDAM_DATA_DIR)')
    .option('--json', 'write the result as JSON')
    .addHelpText(
      'after',
      '\nExit codes: 0 valid, 1 broken, 2 unreadable, 3 chain consistent but signature not checked, 4 no seal.',
    )
    .action(async (target: string, options: { key?: string; json?: boolean }) => {
      readerMayLeave();
      const { verifyCommand } = await import('../cli/verify.ts');
      process.exitCode = await verifyCommand({
        target,
        ...options,
        environment: installation(),
        stdout: process.stdout,
      });
    });

  program
    .command('plan')
    .description(
      'what a run would be: who is obeyed, which texts are shown, rules, caps and expected cost; no model call',
    )
    .argument('<owner/repo#number>', 'issue or pull request, in quotes')
    .requiredOption('--as <user>', 'who would ask')
    .option('--policy <file>', 'operator policy (default: COFFERDAM_POLICY)')
    .option('--json', 'write the result as JSON')
    .addHelpText(
      'after',
      '\nNeeds APP_ID and PRIVATE_KEY.\nExit codes: 0 a run would begin, 1 it would be refused, 2 wrong usage.',
    )
    .action(async (target: string, options: { as: string; policy?: string; json?: boolean }) => {
      readerMayLeave();
      const { planCommand } = await import('../cli/plan.ts');
      process.exitCode = await planCommand({
        ...options,
        target,
        environment: installation(),
        stdout: process.stdout,
      });
    });

  addPolicyCommands(program);
  addAuditCommands(program);

  program
    .command('attack')
    .description('try the catalogue’s attacks on this machine: one real sandbox, the real gateway, a hermetic internet')
    .option('--only <ids>', 'only these cases, such as NET-001,ESC-011')
    .option('--tier <tiers>', 'only rows that the catalogue puts into these tiers, such as T1,T2')
    .option('--policy <file>', 'whose sandbox settings and rules for hosts count, too (default: COFFERDAM_POLICY)')
    .option('--report <file>', 'write a page for a security review')
    .option('--json', 'write one JSON object to standard output; progress goes to standard error')
    .addHelpText(
      'after',
      '\nExit codes: 0 everything held, 1 something failed or nothing could be tried, 2 wrong usage.',
    )
    .action(async (options: { only?: string; tier?: string; policy?: string; report?: string; json?: boolean }) => {
      const { attackCommand } = await import('../cli/attack.ts');
      process.exitCode = await attackCommand({
        ...options,
        environment: readEnvironment(),
        signal: stopSignal(),
        stdout: process.stdout,
        stderr: process.stderr,
      });
    });

  program
    .command('doctor')
    .description('check every prerequisite: found, needed, fix')
    .option('--json', 'write the result as JSON')
    .action(async (options: { json?: boolean }) => {
      const { doctorCommand } = await import('../cli/doctor.ts');
      process.exitCode = await doctorCommand({ ...options, environment: installation(), stdout: process.stdout });
    });

  program
    .command('setup')
    .description('register the GitHub App: opens a page on loopback and writes .env')
    .option('--output <file>', 'where the settings are written', '.env')
    .option('--organization <login>', 'owner of the App (default: the account that is signed in at GitHub)')
    .addHelpText(
      'after',
      '\nExit codes: 0 registered, 2 the file is there already or a setting is missing, 130 stopped.',
    )
    .action(async (options: { output: string; organization?: string }) => {
      const { setupCommand } = await import('../cli/setup.ts');
      process.exitCode = await setupCommand({ ...options, environment: readEnvironment(), signal: stopSignal() });
    });

  program
    .command('demo')
    .description(
      'the whole job on this machine: a local GitHub, a label, a real agent in gVisor, a pull request, a follow-up',
    )
    .option('--keep', 'leave everything running until Ctrl-C, to look at it')
    .option('--scripted', 'use the scripted model even if there is a model key in the environment')
    .option('--json', 'end with one JSON line')
    .action(async (options: { json?: boolean; keep?: boolean; scripted?: boolean }) => {
      const { demoCommand } = await import('../cli/demo.ts');
      process.exitCode = await demoCommand({ ...options, signal: stopSignal() });
    });
  return program;
}

/** What a person at a terminal reads when something went wrong. */
function report(thrown: unknown): number {
  if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : 2;
  if (thrown instanceof CofferdamError) {
    const row = errorRow(thrown.code);
    const cause = thrown.cause instanceof Error ? `\n  because: ${thrown.cause.message}` : '';
    process.stderr.write(`cofferdam: ${thrown.message}${cause}\n  ${row.advice}\n`);
    return row.exitCode;
  }
  process.stderr.write(
    `cofferdam: internal error: ${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}\n`,
  );
  return 125;
}

try {
  await build().parseAsync();
} catch (thrown) {
  process.exitCode = report(thrown);
}
