import type { ShownFile } from '../../domain/shown.ts';
import { compileGlob, globMatches } from './glob.ts';
import { canonicalPath, nameProblem, resolveTarget } from './path.ts';

/** Text that agents take as advice on how to work in a repository, wherever it lies in it; case is ignored. */
const ADVICE = [
  '{agent,agents,agents.override,claude,claude.local,gemini,qwen,warp,crush,skill,copilot-instructions}.md',
  ...['.cursorrules', '.windsurfrules', '.clinerules', '.rules', '.goosehints', '.augment-guidelines'],
  ...['.clinerules/', '**/.cursor/rules/**', '**/.windsurf/rules/**', '**/.junie/guidelines.md'],
  ...['.github/instructions/**', '.github/prompts/**', '.github/chatmodes/**', '.github/agents/**'],
].map((pattern) => compileGlob(pattern, { files: true }));

export function isAdvice(path: string): boolean {
  const canonical = canonicalPath(path);
  return ADVICE.some((glob) => globMatches(glob, canonical));
}

interface CommitEntry {
  mode: string;
  id: string;
}

/** All files of a commit: mode and object by path; `links`: what the symlinks among those that count hold. */
export interface CommitFiles {
  files: ReadonlyMap<string, CommitEntry>;
  links: ReadonlyMap<string, string>;
}

const SYMLINK = '120000';
const MAX_HOPS = 8;
/** A pull request that changes more advice than this is none that a person has read. */
const MAX_SHOWN = 1_000;
const MAX_PATH_BYTES = 262_144;

/**
 * Which files have to lie otherwise in the workspace than in its base, so that advice reads as the default branch has it. What is
 * behind a symlink counts, not the link: its target may be an ordinary file, which the base has changed.
 * Errors: RangeError with what cannot be shown.
 */
export function shownAdvice(own: CommitFiles, standard: CommitFiles, counts = isAdvice): ShownFile[] {
  const paths = new Set([...own.files.keys(), ...standard.files.keys()].filter((path) => counts(path)));
  const shown: ShownFile[] = [];
  for (const path of [...paths].sort()) {
    const id = textAt(standard, path);
    const ownText = textAt(own, path);
    // A link of the base alone that leads to a directory brings a whole directory of advice.
    const foreign = ownText === null && own.files.has(path) && !same(own.files.get(path), standard.files.get(path));
    if (id === ownText && !foreign) continue;
    // A file of the base stands where a directory of the default branch would.
    if (id !== null && leafAbove(own, path)) continue;
    const { mode, id: ownId } = own.files.get(path) ?? {};
    shown.push({
      path: layable(path),
      shown: id,
      own: mode === undefined || ownId === undefined ? null : { mode, id: ownId },
    });
  }
  return bounded(shown);
}

/** Is this path one of these files, or in one of these directories? Roots are in canonical form. */
export function isBelow(roots: readonly string[], path: string): boolean {
  const canonical = canonicalPath(path);
  return roots.some((root) => canonical === root || canonical.startsWith(`${root}/`));
}

/**
 * The same for files that configure the agent, where it reads some: those that are allowed as the default branch has them, and no
 * other. Errors: RangeError with what cannot be laid.
 */
export function shownConfiguration(
  own: CommitFiles['files'],
  standard: CommitFiles['files'],
  options: { roots: readonly string[]; allowed: ReadonlySet<string> },
): ShownFile[] {
  const paths = new Set([...own.keys(), ...options.allowed].filter((path) => isBelow(options.roots, path)));
  const shown: ShownFile[] = [];
  for (const path of [...paths].sort()) {
    const entry = own.get(path) ?? null;
    const id = options.allowed.has(path) ? (standard.get(path)?.id ?? null) : null;
    if (entry !== null && entry.id === id && entry.mode.startsWith('100')) continue;
    shown.push({ path: layable(path), shown: id, own: entry });
  }
  return bounded(shown);
}

/** The list is part of one line of the record. */
function bounded(shown: ShownFile[]): ShownFile[] {
  const bytes = shown.reduce((sum, { path }) => sum + Buffer.byteLength(path), 0);
  if (shown.length <= MAX_SHOWN && bytes <= MAX_PATH_BYTES) return shown;
  throw new RangeError(`it differs in more than ${MAX_SHOWN} files that steer agents, or their names are too long`);
}

function layable(path: string): string {
  const problem = path
    .split('/')
    .map(nameProblem)
    .find((one) => one !== undefined);
  if (problem === undefined) return path;
  throw new RangeError(`the name ${JSON.stringify(path.slice(0, 200))} ${problem}`);
}

/** The blob that is read under this name; null: there is no file, or the link leads to none of the tree. */
function textAt({ files, links }: CommitFiles, path: string): string | null {
  let at = path;
  for (let hop = 0; hop < MAX_HOPS; hop += 1) {
    const entry = files.get(at);
    if (entry === undefined) return null;
    if (entry.mode !== SYMLINK) return entry.mode.startsWith('100') ? entry.id : null;
    const target = resolveTarget(at, links.get(at) ?? '');
    if (target === undefined) return null;
    at = target;
  }
  return null;
}

function same(a: CommitEntry | undefined, b: CommitEntry | undefined): boolean {
  return a?.mode === b?.mode && a?.id === b?.id;
}

function leafAbove({ files }: CommitFiles, path: string): boolean {
  const names = path.split('/');
  return names.some((_, index) => index > 0 && files.has(names.slice(0, index).join('/')));
}
