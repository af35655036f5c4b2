import type { ShownFile } from '../domain/shown.ts';

/**
 * What runs inside the sandbox, as the agent's user, to make the clone. It is convenience, not defence.
 *
 * Advice for agents (AGENTS.md and its kin) reads as the default branch has it, whatever the commit has: the host says which files
 * differ. They are hidden from git's index, so that they look unchanged, and listed for the harvest, which brings out what became
 * of them; the host then puts those that nobody touched back to what the commit has.
 */
const SHOWN_LIST = '.git/cofferdam-shown';

const SCRIPT = `
set -eu
remote=$1 workspace=$2 commit=$3 ref=$4
git init -q "$workspace"
cd "$workspace"
git remote add origin "$remote"
git fetch -q --no-tags origin "+refs/heads/*:refs/remotes/origin/*"
if [ -n "$ref" ]; then git fetch -q --no-tags origin "+$ref:refs/remotes/\${ref#refs/}"; fi
git checkout -q -B work "$commit"
while IFS= read -r line; do
  id=\${line%% *} file=\${line#* }
  printf '%s\\n' "$file" >> ${SHOWN_LIST}
  if git --literal-pathspecs ls-files --error-unmatch -- "$file" >/dev/null 2>&1; then
    git update-index --skip-worktree -- "$file"
  else
    mkdir -p .git/info
    printf '/%s\\n' "$file" >> .git/info/exclude
  fi
  rm -f -- "$file"
  # An empty directory of settings is one, too, to some agents.
  rmdir -p -- "$(dirname -- "$file")" 2>/dev/null || :
  if [ "$id" != - ]; then
    mkdir -p -- "$(dirname -- "$file")"
    git cat-file blob "$id" > "$file" || { echo 'the default branch was pushed over meanwhile; ask again'; exit 1; }
  fi
done
`;

export interface Checkout {
  /** URL of the remote. */
  remote: string;
  workspace: string;
  commit: string;
  /** Where the commit is when no branch has it: `refs/pull/N/head`. */
  ref?: string | undefined;
}

/** The command to execute in the sandbox; its standard input is `shownLines`. */
export function checkoutCommand({ remote, workspace, commit, ref = '' }: Checkout): string[] {
  return ['/bin/bash', '-c', SCRIPT, 'clone', remote, workspace, commit, ref];
}

/** One line for each file. Preconditions: no control characters in paths. */
export function shownLines(files: readonly ShownFile[]): string {
  return files.map(({ path, shown }) => `${shown ?? '-'} ${path}\n`).join('');
}
