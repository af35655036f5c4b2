import { basename } from 'node:path';
import { RunId } from '../domain/ids.ts';

/** The run after which an audit file is named: its lines must be of that run. Undefined: it has another name, and may be of any. */
export function runOfFile(file: string): RunId | undefined {
  return RunId.safeParse(/^(.+)\.jsonl$/.exec(basename(file))?.[1]).data;
}
