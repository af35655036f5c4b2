/** What a person who reviews a change should look at first. Hints: nothing is refused for one, and none is a proof of anything. */
import type { ChangedFile } from '../../domain/run.ts';
import { EXAMPLE_SECRET } from '../redaction/patterns.ts';
import { createSecretScanner } from '../redaction/scan.ts';
import { PROTECTED_CLASSES, type ProtectedClass } from './classes.ts';
import { namesDependency } from './dependencies.ts';
import { readPatch, type FilePatch, type PatchLine } from './patch.ts';

const REMARK_KINDS = ['protected', 'secret', 'dependency', 'test_skipped', 'test_deleted', 'check_off'] as const;
export type RemarkKind = (typeof REMARK_KINDS)[number];

export interface Remark {
  kind: RemarkKind;
  path: string;
  /** A line of the new file that the diff shows; undefined when the file is gone or its lines are not known. */
  line: number | undefined;
  /** Of a protected file. */
  protectedClass?: ProtectedClass;
}

/** More than this of one file are one too many to read. */
const MAX_OF_FILE = 10;
const MAX_LINE = 2_000;

/** Remarks on a change, the weightiest kind first. `patch` may be cut: what is missing has no remark, except that a file is protected. */
export function remarksOn(options: { files: readonly ChangedFile[]; patch: string }): Remark[] {
  const patches = new Map(readPatch(options.patch).map((file) => [file.path, file]));
  const added = new Set<string>();
  for (const { lines } of patches.values())
    for (const { sign, text } of lines) if (sign === '+' && isTest(text)) added.add(squeezed(text));
  const remarks = options.files.flatMap((file) => {
    const patch = patches.get(file.path);
    return [...protectedRemark(file, patch), ...(patch === undefined ? [] : lineRemarks(patch, added))];
  });
  return remarks.sort((a, b) => REMARK_KINDS.indexOf(a.kind) - REMARK_KINDS.indexOf(b.kind));
}

function protectedRemark(file: ChangedFile, patch: FilePatch | undefined): Remark[] {
  const protectedClass = PROTECTED_CLASSES.find((one) => one === file.protectedClass);
  if (protectedClass === undefined) return [];
  const changed = patch?.lines.find(({ sign }) => sign !== ' ');
  const line = file.status === 'deleted' ? undefined : changed?.line;
  return [{ kind: 'protected', path: file.path, line, protectedClass }];
}

function lineRemarks({ path, deleted, lines }: FilePatch, added: ReadonlySet<string>): Remark[] {
  const remarks: Remark[] = [];
  const say = (kind: RemarkKind, { line }: PatchLine): void => {
    if (remarks.some((one) => one.kind === kind && one.line === line)) return;
    if (remarks.length < MAX_OF_FILE) remarks.push({ kind, path, line: deleted ? undefined : line });
  };
  const gone = new Set(lines.filter(({ sign }) => sign === '-').map(({ text }) => squeezed(text)));
  for (const line of lines) {
    const text = line.text.slice(0, MAX_LINE);
    if (line.sign === '+' && looksSecret(text)) say('secret', line);
    if (line.sign === '+' && namesDependency(path, text) && !gone.has(squeezed(text))) say('dependency', line);
    if (line.sign === '+' && SKIPPED.test(text)) say('test_skipped', line);
    if (line.sign === '+' && CHECK_OFF.test(text)) say('check_off', line);
    if (line.sign === '-' && isTest(text) && !added.has(squeezed(text))) say('test_deleted', line);
  }
  return remarks;
}

/** The beginning of a test, in the words of the usual frameworks. */
const TEST =
  /^\s*(?:(?:it|test|specify|scenario)(?:\.\w+)*\s*\(|def test_\w*\s*\(|func Test[A-Z]\w*\s*\(|#\[(?:\w+::)?test\b|@(?:Test|ParameterizedTest)\b|(?:it|specify|test)\s+["'])/;
/** A test that will not run, or that keeps all others from running. */
const SKIPPED =
  /\b(?:it|test|describe|suite|context|specify)\.(?:skip|only|todo|fixme|skipIf|runIf)\b|^\s*(?:x(?:it|test|describe|specify|context)|f(?:it|describe))\s*[(\s]|@(?:pytest\.mark\.(?:skip|skipif|xfail)|unittest\.(?:skip|skipIf|skipUnless|expectedFailure)|Ignore|Disabled)\b|\bpytest\.skip\(|\bt\.Skip(?:f|Now)?\(|#\[ignore\b|\bself\.skipTest\(/;
/** A check of the code, or of the build, that no longer says no. */
const CHECK_OFF =
  /\beslint-disable|\bbiome-ignore\b|@ts-(?:ignore|nocheck|expect-error)\b|#\s*noqa\b|#\s*type:\s*ignore\b|\bpylint:\s*disable|\brubocop:disable|\/\/\s*nolint\b|#!?\[allow\(|@SuppressWarnings\b|\bshellcheck\s+disable|^\s*(?:-\s*)?continue-on-error:\s*true|\|\|\s*(?:true|:)\s*(?:["'\])]|$)|--no-verify\b|--passWithNoTests\b/;
/** A word for a secret that is given a text. */
const NAMED_SECRET =
  /(?:passw(?:or)?d|passphrase|secret|api[_-]?key|access[_-]?key|auth[_-]?token|client[_-]?secret|private[_-]?key)["'`\]]?\s*(?::=|=>|[:=])\s*["'`]([^"'`\s]{8,200})["'`]/i;
/** A text that stands for one. */
const STAND_IN =
  /^(?:\$|<|\{\{|%|process\.env|env[.:])|\b(?:example|placeholder|changeme|dummy|redacted|your)|^(.)\1+$|^\*+$/i;

const scan = createSecretScanner([]);

function looksSecret(text: string): boolean {
  const value = NAMED_SECRET.exec(text)?.[1];
  if (value !== undefined && !STAND_IN.test(value) && !EXAMPLE_SECRET.test(value)) return true;
  return scan(Buffer.from(text).toString('latin1')).length > 0;
}

function isTest(text: string): boolean {
  return TEST.test(text.slice(0, MAX_LINE));
}

/** Moved and re-indented is not deleted. */
function squeezed(text: string): string {
  return text.slice(0, MAX_LINE).replace(/\s+/g, '');
}
