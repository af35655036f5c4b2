import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { machinePaths } from '../../src/local/machine/directory.ts';
import { findRunsc } from '../../src/local/machine/runsc.ts';
import { stateDirectoryOf } from '../../src/sandbox/host-process.ts';
import { sessionConfig } from '../../src/sandbox/kernel/session.ts';
import type { DockerSandbox } from '../../src/sandbox/sandbox.ts';
import { openBench, run, type Bench } from '../sandbox/real.ts';
import { quantile, say } from './measure.ts';

/*
 * What the record of processes costs: the same work in three sandboxes that stand beside each other, in turns, one whose
 * kernel reports nothing, one that reports processes and connections, and one that reports files opened for writing as
 * well, which is what every run has.
 */

const ROUNDS = 7;
const NAMES = ['nothing', 'processes and connections', 'with files opened for writing'] as const;
type Name = (typeof NAMES)[number];

const PACKAGES = 150;
const FILES = 12;
const REPOSITORY_FILES = 1_500;

/** What each work starts and writes at least: as much must be in the record. */
interface Work {
  name: string;
  script: string;
  starts: number;
  opens: number;
}

const WORKS: readonly Work[] = [
  {
    name: '500 process starts',
    script: 'for i in $(seq 500); do /bin/true; done',
    starts: 500,
    opens: 0,
  },
  {
    name: 'git clone',
    script: 'rm -rf /tmp/clone; git clone -q --no-local file:///tmp/origin /tmp/clone',
    starts: 3,
    opens: REPOSITORY_FILES,
  },
  {
    name: 'npm ci',
    script: 'cd /tmp/project && npm ci --offline --no-audit --no-fund --loglevel=error >/dev/null',
    starts: 1,
    opens: PACKAGES * FILES,
  },
];

/** A repository of small files, and a project whose packages are archives beside it: no network is needed. */
const PREPARE = `
set -e
export HOME=/tmp
mkdir -p /tmp/origin && cd /tmp/origin && git init -q .
for d in $(seq 30); do mkdir -p d$d; for f in $(seq ${REPOSITORY_FILES / 30}); do echo "$d $f $RANDOM" > d$d/f$f; done; done
git add -A && git -c user.name=x -c user.email=x@y.test commit -qm x
mkdir -p /tmp/project/archives && cd /tmp/project
cat > make.cjs <<'END'
const { execFileSync } = require('node:child_process');
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const dependencies = {};
const packages = {};
for (let n = 0; n < ${PACKAGES}; n += 1) {
  const name = 'part-' + n;
  fs.mkdirSync('package', { recursive: true });
  fs.writeFileSync('package/package.json', JSON.stringify({ name, version: '1.0.0' }));
  for (let f = 1; f < ${FILES}; f += 1) fs.writeFileSync('package/f' + f + '.js', 'module.exports = ' + n * f + ';\\n'.repeat(50));
  const file = 'archives/' + name + '.tgz';
  execFileSync('tar', ['-czf', file, 'package']);
  const integrity = 'sha512-' + createHash('sha512').update(fs.readFileSync(file)).digest('base64');
  dependencies[name] = 'file:' + file;
  packages['node_modules/' + name] = { version: '1.0.0', resolved: 'file:' + file, integrity };
}
fs.rmSync('package', { recursive: true });
const root = { name: 'project', version: '1.0.0', dependencies };
fs.writeFileSync('package.json', JSON.stringify(root));
fs.writeFileSync('package-lock.json', JSON.stringify({ name: 'project', version: '1.0.0', lockfileVersion: 3, requires: true, packages: { '': root, ...packages } }));
END
node make.cjs
`;

interface Place {
  name: Name;
  sandbox: DockerSandbox;
  entries: AuditEntry[];
  times: Map<string, number[]>;
}

async function open(bench: Bench, name: Name): Promise<Place> {
  const entries: AuditEntry[] = [];
  const settings = { memory: '1GiB', disk: '512MiB' };
  const sandbox = await bench.create({ settings, deadlineMs: 3_600_000, onRecord: (entry) => entries.push(entry) });
  const prepared = await run(sandbox, ['bash', '-c', PREPARE], { timeoutMs: 600_000, cwd: '/tmp' });
  assert.equal(prepared.exitCode, 0, prepared.text);
  return { name, sandbox, entries, times: new Map() };
}

/** Ends the kernel's session of a running sandbox; with `points`, begins one with those points only, to the same collector. */
async function reportOnly(sandbox: DockerSandbox, points?: (name: string) => boolean): Promise<void> {
  const [runsc, root] = [await findRunsc(machinePaths()), await stateDirectoryOf(sandbox.id)];
  if (runsc === undefined || root === undefined) throw new Error('the sandbox’s host process is not to be seen');
  const trace = (...argv: string[]) =>
    promisify(execFile)(runsc.path, ['--root', root, 'trace', ...argv], { cwd: '/' });
  await trace('delete', '--name', 'Default', sandbox.id);
  if (points === undefined) return;
  const { kernel } = machinePaths();
  // This process's own: the link may lead to the collector of another Cofferdam by now.
  const socket = readdirSync(kernel).find((name) => name.startsWith(`k${process.pid}-`) && name.endsWith('.sock'));
  if (socket === undefined) throw new Error('the collector’s socket is not to be seen');
  const config = sessionConfig(join(kernel, socket));
  config.trace_session.points = config.trace_session.points.filter(({ name }) => points(name));
  const file = join(kernel, `bench-${process.pid}.json`);
  try {
    await writeFile(file, JSON.stringify(config), { mode: 0o600 });
    // The collector takes another connection when it has seen the end of the one before.
    for (let tries = 0; ; tries += 1) {
      const done = await trace('create', '--config', file, '--force', sandbox.id).then(
        () => true,
        (error: unknown) => {
          if (tries > 50) throw error;
          return false;
        },
      );
      if (done) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  } finally {
    await rm(file, { force: true });
  }
}

async function measure({ sandbox, times }: Place, work: Work): Promise<void> {
  // Timed inside: how Docker starts a command is no part of it.
  const script = `export HOME=/tmp; a=$EPOCHREALTIME; ${work.script}; code=$?; b=$EPOCHREALTIME; echo "took $a $b"; exit $code`;
  const { exitCode, text } = await run(sandbox, ['bash', '-c', script], { timeoutMs: 600_000, cwd: '/tmp' });
  const [, from, to] = /took ([\d.]+) ([\d.]+)/.exec(text) ?? [];
  assert.equal(exitCode, 0, text);
  times.set(work.name, [...(times.get(work.name) ?? []), Number(to) - Number(from)]);
}

const sum = (entries: readonly AuditEntry[], type: string, field: string): number =>
  entries.reduce((all, entry) => (entry.type === type ? all + Number(entry.data?.[field] ?? 0) : all), 0);

const starts = (entries: readonly AuditEntry[]): number =>
  entries.filter(({ type }) => type === 'process.start').length + sum(entries, 'process.burst', 'starts');

const files = (entries: readonly AuditEntry[]): number => sum(entries, 'kernel.open', 'count');

/** What gVisor says that it could not hand over, in all. */
const dropped = (entries: readonly AuditEntry[]): number =>
  entries.reduce(
    (all, { type, data }) =>
      type === 'kernel.gap' && data?.['reason'] === 'dropped' ? all + Number(data['count']) : all,
    0,
  );

const load = (): string => readFileSync('/proc/loadavg', 'utf8').split(' ')[0] ?? '';

export async function kernelCosts(): Promise<void> {
  const bench = await openBench();
  try {
    const places: Place[] = [];
    for (const name of NAMES) places.push(await open(bench, name));
    const [nothing, some] = places as [Place, Place, Place];
    await reportOnly(nothing.sandbox);
    await reportOnly(some.sandbox, (point) => !/open|creat$/.test(point));
    for (const work of WORKS) {
      for (const { entries } of places) entries.length = 0;
      // The first turn warms each up and is not counted.
      for (let round = 0; round <= ROUNDS; round += 1) {
        for (const at of places.keys()) {
          const place = places[(at + round) % places.length] as Place;
          await measure(place, work);
          if (round === 0) place.times.set(work.name, []);
        }
      }
      await report(places, work);
    }
    say(`  one-minute load at the end: ${load()}`);
  } finally {
    await bench.close();
  }
}

async function report(places: readonly Place[], work: Work): Promise<void> {
  const rounds = ROUNDS + 1;
  const told = ({ name, entries }: Place): boolean =>
    name === 'nothing' ||
    (starts(entries) + dropped(entries) >= work.starts * rounds &&
      (name === 'processes and connections' || files(entries) + dropped(entries) >= work.opens * rounds));
  // Counts are told once a second, at the latest once a minute.
  for (let waited = 0; waited < 900 && !places.every(told); waited += 1)
    await new Promise((resolve) => setTimeout(resolve, 100));
  const base = places[0]?.times.get(work.name) ?? [];
  for (const place of places) {
    const { name, entries, times } = place;
    const own = times.get(work.name) ?? [];
    const ratios = own.map((time, round) => time / (base[round] ?? Number.NaN));
    const [seen, opens, lost] = [starts(entries), files(entries), dropped(entries)];
    assert.ok(told(place), `${name}: only ${seen} starts and ${opens} files are in the record`);
    if (name === 'nothing') assert.equal(entries.length, 0, 'a kernel without a session reports');
    if (name === 'processes and connections') assert.equal(opens, 0, 'files were not asked for');
    const best = Math.min(...own) / Math.min(...base);
    say(
      `  ${work.name}, ${name}: ${quantile(own, 0.5).toFixed(2)} s at the median, ${quantile(ratios, 0.5).toFixed(2)} of nothing` +
        ` (${quantile(ratios, 0.25).toFixed(2)} to ${quantile(ratios, 0.75).toFixed(2)}), the fastest ${best.toFixed(2)}` +
        (name === 'nothing' ? '' : `; ${seen} starts and ${opens} files recorded, ${lost} dropped`),
    );
  }
}
