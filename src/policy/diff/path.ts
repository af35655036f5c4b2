/**
 * What names in a tree may be, and which names mean the same to some file system.
 *
 * Trust assumptions: every name was chosen by the sandbox. HFS+ ignores certain characters, NTFS strips trailing dots and
 * spaces, knows streams (`::$DATA`) and short names (`GIT~1`), both ignore case: a check that compares bytes is no check.
 */

// The code points that HFS+ leaves out of a comparison.
const HFS_IGNORED = /[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]/g;

/** One name in the form in which names that some file system takes for the same are equal. */
export function canonicalName(name: string): string {
  const plain = name.normalize('NFC').replaceAll(HFS_IGNORED, '').toLowerCase();
  const stream = plain.indexOf(':');
  const main = (stream > 0 ? plain.slice(0, stream) : plain).replace(/[. ]+$/, '');
  // `.github` has the short name `GITHUB~1`, `.git` `GIT~1`.
  const short = /^([^.~]{1,6})~[1-9]$/.exec(main)?.[1];
  if (short === undefined) return main === '' ? plain : main;
  const full = SHORT_NAMES.find((long) => long.slice(1).startsWith(short));
  return full ?? main;
}

const SHORT_NAMES = ['.git', '.github', '.gitattributes', '.gitmodules', '.claude', '.cursor', '.vscode', '.circleci'];

/** A path with each of its names in canonical form. */
export function canonicalPath(path: string): string {
  return path.split('/').map(canonicalName).join('/');
}

/** Why a tree entry may not have this name, or undefined. `name` is one component, decoded from UTF-8. */
export function nameProblem(name: string): string | undefined {
  if (name === '' || name === '.' || name === '..') return 'is empty, `.` or `..`';
  if (name.includes('/') || name.includes('\\')) return 'holds a path separator';
  // eslint-disable-next-line no-control-regex -- control characters are exactly what a name may not hold
  if (/[\u0000-\u001f\u007f-\u009f]/.test(name)) return 'holds a control character';
  if (name.includes('\ufffd')) return 'is not UTF-8';
  if (Buffer.byteLength(name) > 255) return 'is longer than 255 bytes';
  if (isDotGit(name)) return 'is a form of `.git`';
  if (/^[. ]+$/.test(name.replaceAll(HFS_IGNORED, ''))) return 'is a form of `.` or `..`';
  return undefined;
}

function isDotGit(name: string): boolean {
  const canonical = canonicalName(name);
  // Whatever the number: which short name a directory gets depends on what else is there.
  return canonical === '.git' || /^git~\d/.test(canonical);
}

/**
 * Why a symlink may not point there, or undefined. A link may point anywhere inside the tree but to git's own directory.
 */
export function symlinkProblem(path: string, target: string): string | undefined {
  if (target === '' || Buffer.byteLength(target) > 4095) return 'has no usable target';
  if (target.startsWith('/') || /^[A-Za-z]:|\\/.test(target)) return 'points to an absolute path';
  if (target.includes('\0') || target.includes('\ufffd')) return 'has a target that is no path';
  const resolved = resolveTarget(path, target);
  if (resolved === undefined) return 'points out of the repository';
  if (resolved.split('/').some(isDotGit)) return 'points into `.git`';
  return undefined;
}

/** Where a symlink at `path` leads, as a path in the tree (`''` for its root); undefined when it leads out of it. */
export function resolveTarget(path: string, target: string): string | undefined {
  const at = path.split('/').slice(0, -1);
  for (const name of target.split('/')) {
    if (name === '' || name === '.') continue;
    if (name !== '..') at.push(name);
    else if (at.pop() === undefined) return undefined;
  }
  return at.join('/');
}
