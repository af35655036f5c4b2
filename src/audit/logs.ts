import { createReadStream } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RunId } from '../domain/ids.ts';
import { createAuditReader } from './read.ts';
import { findRemoval, type Removal } from './removal.ts';
import { textAt } from './story/field.ts';

/** What lies beside each other for one run. */
export function auditPaths(directory: string, runId: RunId): { log: string; seal: string; patch: string } {
  const log = join(directory, `${runId}.jsonl`);
  return { log, seal: `${log}.seal`, patch: join(directory, `${runId}.patch`) };
}

/** One run's log in a file; a mark is a number of bytes. */
export interface FileLog {
  readonly partial: false;
  read(mark: string): AsyncIterable<{ bytes: Uint8Array; mark: string }>;
  shorter(mark: string): Promise<boolean>;
  changed(mark: string, signal: AbortSignal): Promise<void>;
  seal(): Promise<string | null>;
  patch(): Promise<string | null>;
}

const POLL_MS = 400;
/** A little more than harvest keeps of one. */
const MAX_PATCH_BYTES = 9 * 1_048_576;

/** One audit file of a directory. */
export interface FoundFile {
  runId: RunId;
  /** When it was written to last, milliseconds since the epoch. */
  changedMs: number;
  /** With what lies beside it: seal and patch. */
  bytes: number;
  sealed: boolean;
}

export interface FileLogs {
  open(runId: RunId): Promise<FileLog | null>;
  /** Every audit file, newest first. */
  list(): Promise<FoundFile[]>;
  /** What is known of a log that was here. */
  removed(runId: RunId): Promise<Removal | null>;
}

/** The logs in the directory that `AuditFile` writes to. */
export function createFileLogs(directory: string): FileLogs {
  return {
    async open(runId) {
      const paths = auditPaths(directory, runId);
      return (await sizeOf(paths.log)) === undefined ? null : fileLog(paths);
    },
    list: () => listFiles(directory),
    removed: (runId) => findRemoval(directory, runId),
  };
}

async function listFiles(directory: string): Promise<FoundFile[]> {
  const names = await readdir(directory).catch(() => []);
  const seals = new Set(names.filter((name) => name.endsWith('.jsonl.seal')));
  const files: FoundFile[] = [];
  for (const name of names) {
    const runId = RunId.safeParse(/^(.+)\.jsonl$/.exec(name)?.[1]);
    if (!runId.success) continue;
    const found = await stat(join(directory, name)).catch(() => undefined);
    if (found === undefined) continue;
    const { seal, patch } = auditPaths(directory, runId.data);
    const bytes = found.size + ((await sizeOf(seal)) ?? 0) + ((await sizeOf(patch)) ?? 0);
    files.push({ runId: runId.data, changedMs: found.mtimeMs, bytes, sealed: seals.has(`${name}.seal`) });
  }
  return files.sort((a, b) => b.changedMs - a.changedMs);
}

/** What a run is about, from the beginning of its log; undefined for the logs of workers. */
export async function subjectOf(log: FileLog): Promise<string | undefined> {
  const reader = createAuditReader();
  for await (const { bytes } of log.read('0')) {
    for (const { type, data } of reader.feed(bytes)) {
      if (type !== 'run.manifest') continue;
      const command = Array.isArray(data['command']) ? data['command'].join(' ') : '';
      return textAt(data, 'spec', 'title') ?? command;
    }
    // The manifest is among the first lines.
    if (reader.reading().lines > 50) return undefined;
  }
  return undefined;
}

function fileLog(paths: ReturnType<typeof auditPaths>): FileLog {
  return {
    partial: false,
    async *read(mark) {
      let at = Number(mark);
      for await (const chunk of createReadStream(paths.log, { start: at })) {
        const bytes = chunk as Buffer;
        at += bytes.length;
        yield { bytes, mark: String(at) };
      }
    },
    shorter: async (mark) => ((await sizeOf(paths.log)) ?? 0) < Number(mark),
    async changed(mark, signal) {
      while (!signal.aborted) {
        if ((await sizeOf(paths.log)) !== Number(mark)) return;
        await sleep(POLL_MS, undefined, { signal, ref: false }).catch(() => undefined);
      }
    },
    seal: () => readText(paths.seal, 1_048_576),
    patch: () => readText(paths.patch, MAX_PATCH_BYTES),
  };
}

async function sizeOf(file: string): Promise<number | undefined> {
  return stat(file).then(
    (found) => found.size,
    () => undefined,
  );
}

async function readText(file: string, limit: number): Promise<string | null> {
  const size = await sizeOf(file);
  if (size === undefined || size > limit) return null;
  return readFile(file, 'utf8').catch(() => null);
}
