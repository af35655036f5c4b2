/**
 * What runs inside the sandbox, as the agent's user, to make the clone. It is convenience, not defence.
 *
 * With a fork's commit, the advice for agents (AGENTS.md and its kin) is taken from the default branch: a stranger's words are data,
 * not advice. Those files are hidden from git's index, so that nothing of this is part of the result; in the result they are as
 * the fork has them.
 */
const SCRIPT = `
set -eu
remote=$1 workspace=$2 commit=$3 ref=$4 advice=$5
git init -q "$workspace"
cd "$workspace"
git remote add origin "$remote"
git fetch -q --no-tags origin "+refs/heads/*:refs/remotes/origin/*"
if [ -n "$ref" ]; then git fetch -q --no-tags origin "+$ref:refs/remotes/\${ref#refs/}"; fi
git checkout -q -B work "$commit"
[ -n "$advice" ] || exit 0
kin() { grep -ziE '(^|/)(agents?|agents\\.override|claude|claude\\.local|gemini|qwen|warp|crush|skill|copilot-instructions)\\.md$' || true; }
git ls-files -z | kin | while IFS= read -r -d '' file; do
  git update-index --skip-worktree -- "$file"
  rm -f -- "$file"
done
git ls-tree -r -z --name-only "refs/remotes/origin/$advice" | kin | while IFS= read -r -d '' file; do
  if ! git ls-files --error-unmatch -- "$file" >/dev/null 2>&1; then
    mkdir -p .git/info
    printf '/%s\\n' "$file" >> .git/info/exclude
  fi
  if mkdir -p -- "$(dirname -- "$file")"; then git cat-file blob "refs/remotes/origin/$advice:$file" > "$file" || rm -f -- "$file"; fi
done
`;

export interface Checkout {
  /** URL of the remote. */
  remote: string;
  workspace: string;
  commit: string;
  fork?: {
    /** `refs/pull/N/head`: no branch has the commit. */
    ref: string;
    /** The branch whose advice counts. */
    advice: string;
  };
}

/** The command to execute in the sandbox. */
export function checkoutCommand({ remote, workspace, commit, fork }: Checkout): string[] {
  return ['/bin/bash', '-c', SCRIPT, 'clone', remote, workspace, commit, fork?.ref ?? '', fork?.advice ?? ''];
}
