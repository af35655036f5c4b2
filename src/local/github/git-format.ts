/** Reading what git prints; no process is started here. */

interface Signature {
  name: string;
  email: string;
  date: string;
}

export interface CommitInfo {
  sha: string;
  tree: string;
  parents: string[];
  author: Signature;
  committer: Signature;
  message: string;
}

export interface FileChange {
  sha: string;
  filename: string;
  previousFilename?: string;
  status: 'added' | 'removed' | 'modified' | 'renamed' | 'changed';
  additions: number;
  deletions: number;
  /** Absent for binary files, as on GitHub. */
  patch?: string;
}

const FIELD = '\u0001';

/** For `git log -z`: NUL between commits, this control character between fields. */
export const LOG_FORMAT = ['%H', '%T', '%P', '%an', '%ae', '%aI', '%cn', '%ce', '%cI', '%B'].join('%x01');

/** GitHub writes instants in UTC, to the second. */
export function instant(date: Date | string): string {
  return new Date(date).toISOString().replace(/\.\d+Z$/, 'Z');
}

export function parseCommits(output: string): CommitInfo[] {
  return output
    .split('\0')
    .filter((record) => record !== '')
    .map((record) => {
      const [sha, tree, parents, an, ae, ad, cn, ce, cd, ...message] = record.split(FIELD).map(String);
      if (sha === undefined || tree === undefined || ad === undefined || cd === undefined)
        throw new Error('unexpected output of git log');
      return {
        sha,
        tree,
        parents: (parents ?? '').split(' ').filter((parent) => parent !== ''),
        author: { name: an ?? '', email: ae ?? '', date: instant(ad) },
        committer: { name: cn ?? '', email: ce ?? '', date: instant(cd) },
        message: message.join(FIELD).trimEnd(),
      };
    });
}

const STATUS: Record<string, FileChange['status']> = { A: 'added', D: 'removed', M: 'modified', R: 'renamed' };

interface RawEntry {
  sha: string;
  status: FileChange['status'];
  filename: string;
  previousFilename?: string;
}

/** `git diff --raw -z`: `:modes shas status NUL path NUL`, with two paths for a rename. */
function parseRaw(raw: string): RawEntry[] {
  const tokens = raw.split('\0');
  const entries: RawEntry[] = [];
  for (let index = 0; index < tokens.length;) {
    const head = tokens[index++];
    if (head?.startsWith(':') !== true) continue;
    const [, , before, after, letter] = head.split(' ');
    const path = tokens[index++] ?? '';
    const status = STATUS[letter?.charAt(0) ?? ''] ?? 'changed';
    const sha = (status === 'removed' ? before : after) ?? '';
    entries.push(
      status === 'renamed'
        ? { sha, status, filename: tokens[index++] ?? '', previousFilename: path }
        : { sha, status, filename: path },
    );
  }
  return entries;
}

/** `git diff --raw -z` and `git diff -p` of the same two trees as GitHub's list of files. */
export function parseDiff(raw: string, patch: string): FileChange[] {
  // A line of content starts with a space, a sign or a backslash, so only a header can start like this.
  const patches = patch.split(/^(?=diff --git )/m).filter((part) => part.startsWith('diff --git '));
  return parseRaw(raw).map((entry, index) => {
    const hunks = hunksOf(patches[index] ?? '');
    const lines = hunks?.split('\n') ?? [];
    return {
      ...entry,
      additions: lines.filter((line) => line.startsWith('+')).length,
      deletions: lines.filter((line) => line.startsWith('-')).length,
      ...(hunks === undefined ? {} : { patch: hunks }),
    };
  });
}

function hunksOf(patch: string): string | undefined {
  const at = patch.search(/^@@ /m);
  return at < 0 ? undefined : patch.slice(at).replace(/\n$/, '');
}
