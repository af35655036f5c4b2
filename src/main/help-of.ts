import { checkRepositoryFile, type Installation } from '../config/repository-file.ts';
import { MAX_REPOSITORY_FILE, REPOSITORY_FILE } from '../domain/configuration.ts';
import type { GitHubRepository } from '../github/repository.ts';
import type { HelpFacts } from '../policy/markdown/replies.ts';

/**
 * What a person may ask for in this repository: what the operator allows, as the repository's file on its default branch narrows it.
 * Errors: `github`.
 */
export async function helpOf(
  base: HelpFacts,
  options: {
    repository: Pick<GitHubRepository, 'headOf' | 'fileAt'>;
    defaultBranch: string;
    installation: Installation;
  },
): Promise<HelpFacts> {
  const { repository, defaultBranch, installation } = options;
  const head = await repository.headOf(defaultBranch);
  const wanted = { path: REPOSITORY_FILE, maxBytes: MAX_REPOSITORY_FILE };
  const file = head === null ? null : await repository.fileAt(head, wanted);
  if (file === null) return base;
  if ('problem' in file) return { ...base, problem: file.problem };
  const checked = checkRepositoryFile(file.text, installation);
  if ('problems' in checked) {
    const [first] = checked.problems;
    return {
      ...base,
      problem: first === undefined ? '' : `line ${first.line}, column ${first.column}: ${first.message}`,
    };
  }
  const { limits, agent, hold } = checked.effective;
  return { ...base, maxCost: limits.maxCost, timeoutMinutes: Math.round(limits.timeoutMs / 6_000) / 10, agent, hold };
}
