import { copyFile, mkdir, readFile } from 'node:fs/promises';
import { createReadStream } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { styleText } from 'node:util';
import { runOfFile } from '../audit/file-name.ts';
import { auditPaths } from '../audit/logs.ts';
import { describeReading, readAuditFile, type Reading } from '../audit/read.ts';
import { publicKeyFile } from '../audit/seal.ts';
import { prune } from '../audit/retention.ts';
import type { Entry } from '../audit/story/activity.ts';
import { allAttempts } from '../audit/story/network.ts';
import { createStory, type RunStory } from '../audit/story/story.ts';
import { CofferdamError } from '../domain/errors.ts';
import { formatUsd, RunId } from '../domain/ids.ts';
import { auditDirectory } from '../main/live-audit.ts';
import { hanging, terminalLine } from './terminal.ts';
import { locate } from './verify.ts';

interface Output {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

function clock(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

function plural(count: number, one: string): string {
  return `${count} ${one}${count === 1 ? '' : 's'}`;
}

const SIGN: Record<Entry['outcome'], string> = { none: ' ', running: '●', ok: '✓', failed: '✕', denied: '⊘' };
const COLOUR: Record<Entry['outcome'], Parameters<typeof styleText>[0]> = {
  none: 'reset',
  running: 'cyan',
  ok: 'green',
  failed: 'red',
  denied: 'red',
};

/** Long texts are cut here: the file has them. */
const MAX_WORDS = 300;

/** Time, whose word it is, sign and kind: what stands before the words of an entry. */
const BEFORE_WORDS = 27;

function entryLine(entry: Entry, colour: boolean, columns: number | undefined): string {
  const paint = (style: Parameters<typeof styleText>[0], text: string): string =>
    colour ? styleText(style, text) : text;
  const words =
    entry.kind === 'message' || entry.kind === 'thought' || entry.kind === 'plan' ? (entry.text ?? '') : entry.title;
  const cut = terminalLine(words, MAX_WORDS);
  const times = entry.count > 1 ? `  ${entry.count} ×` : '';
  const why =
    entry.outcome === 'denied' ? `  ${terminalLine(entry.details.find(([name]) => name === 'reason')?.[1] ?? '')}` : '';
  const took = entry.to === undefined || entry.count > 1 ? '' : `  ${((entry.to - entry.from) / 1_000).toFixed(1)} s`;
  const who = entry.voice === 'agent' ? paint('magenta', 'agent') : paint('dim', 'host ');
  const sign = paint(COLOUR[entry.outcome], SIGN[entry.outcome]);
  const told = `${cut}${times}${why}${took}`;
  const shown = columns === undefined ? told : hanging(told, columns, BEFORE_WORDS);
  return `${clock(entry.from).padStart(7)}  ${who}  ${sign} ${entry.kind.padEnd(8)} ${shown}`;
}

function heading({ outline, spending, network, elapsedMs, startedAt }: RunStory, runId: string): string[] {
  const { manifest, outcome } = outline;
  const money = spending.cap === undefined ? '' : `, ${formatUsd(spending.spent)} of ${formatUsd(spending.cap)}`;
  const subject = manifest?.title ?? manifest?.command.join(' ') ?? 'no manifest yet';
  return [
    terminalLine(subject),
    [
      `run ${runId}`,
      manifest?.repository,
      manifest?.requester === undefined ? undefined : `asked for by ${manifest.requester}`,
      manifest?.agent,
      manifest?.model,
      startedAt,
    ]
      .filter((part) => part !== undefined)
      .map((part) => terminalLine(part, 100))
      .join(', '),
    `${terminalLine(outcome?.state ?? 'goes on')}${outcome?.reason === undefined ? '' : ` (${terminalLine(outcome.reason)})`}, ${clock(elapsedMs)}${money}, ${plural(spending.turns, 'model call')}, ${plural(allAttempts(network), 'attempt')} denied`,
  ];
}

/** The story as lines for a terminal. */
function storyLines(
  story: RunStory,
  options: { runId: string; reading: Reading; seal: string | null; colour: boolean; columns: number | undefined },
): string[] {
  const { reading, seal, colour, columns } = options;
  const lines = heading(story, options.runId).map((line) => (columns === undefined ? line : hanging(line, columns, 0)));
  let current: string | undefined;
  for (const entry of story.activity.entries) {
    const step = story.steps.findLast((one) => one.from <= entry.from)?.name;
    if (step !== current) {
      current = step;
      lines.push('', `── ${terminalLine(step ?? '')} ──`);
    }
    lines.push(entryLine(entry, colour, columns));
  }
  if (story.activity.dropped > 0) lines.push(`and ${story.activity.dropped} more; the file has them`);
  const over = seal !== null || story.outline.seal !== undefined;
  const odd = describeReading(reading, over, seal).map((said) => terminalLine(said));
  return [...lines, '', `${reading.lines} lines, head sha256:${reading.head}`, ...odd];
}

/** `cofferdam audit show`: the run as a timeline. */
export async function auditShowCommand(options: { target: string; dataDir: string; stdout: Output }): Promise<number> {
  const { stdout } = options;
  const file = await locate(options.target, options.dataDir);
  const teller = createStory();
  let reading: Reading | undefined;
  let runId: string = runOfFile(file) ?? 'unknown';
  for await (const piece of readAuditFile(file)) {
    for (const event of piece.events) {
      teller.take(event);
      ({ runId } = event);
    }
    reading = piece.reading;
  }
  if (reading === undefined) return 1;
  const seal = await readFile(`${file}.seal`, 'utf8').catch(() => null);
  const colour = stdout.isTTY === true;
  const columns = colour ? stdout.columns : undefined;
  stdout.write(`${storyLines(teller.story(), { runId, reading, seal, colour, columns }).join('\n')}\n`);
  return 0;
}

/** `cofferdam audit export`: the stored bytes to standard output, or everything that a third party needs to check them into a directory. */
export async function auditExportCommand(options: {
  target: string;
  output?: string;
  dataDir: string;
  stdout: NodeJS.WritableStream;
}): Promise<number> {
  const { target, output, dataDir, stdout } = options;
  const file = await locate(target, dataDir);
  if (output === undefined) {
    await pipeline(createReadStream(file), stdout, { end: false });
    return 0;
  }
  const directory = resolve(output);
  await mkdir(directory, { recursive: true });
  const id = RunId.safeParse(basename(file).replace(/\.jsonl$/, ''));
  const patch = id.success ? [auditPaths(auditDirectory(dataDir), id.data).patch] : [];
  const key = publicKeyFile(dataDir);
  for (const [from, needed] of [
    [file, true],
    ...[`${file}.seal`, ...patch, key].map((one) => [one, false] as const),
  ] as const) {
    const copied = await copyFile(from, join(directory, basename(from))).then(
      () => true,
      (cause: unknown) => {
        if (needed) throw new CofferdamError('usage', 'cli.auditExport', `cannot copy ${from} to ${directory}`, cause);
        return false;
      },
    );
    if (copied) stdout.write(`${join(directory, basename(from))}\n`);
  }
  return 0;
}

function bound(value: string | undefined, name: string): number | undefined {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (Number.isFinite(number) && number > 0) return number;
  throw new CofferdamError('usage', 'cli.auditPrune', `--${name}: expected a number above 0`);
}

/** `cofferdam audit prune`: removes sealed files by age and size. */
export async function auditPruneCommand(options: {
  days?: string;
  mib?: string;
  dataDir: string;
  stdout: Output;
}): Promise<number> {
  const days = bound(options.days, 'days');
  const mib = bound(options.mib, 'mib');
  if (days === undefined && mib === undefined)
    throw new CofferdamError('usage', 'cli.auditPrune', 'say what to keep: --days, --mib, or both');
  const retention = {
    maxAgeMs: days === undefined ? undefined : days * 86_400_000,
    maxBytes: mib === undefined ? undefined : mib * 1_048_576,
  };
  const gone = await prune(auditDirectory(options.dataDir), retention);
  for (const { runId, bytes } of gone) options.stdout.write(`removed ${runId} (${bytes} bytes)\n`);
  options.stdout.write(`${gone.length} removed\n`);
  return 0;
}
