import { addWay } from '../config/add-way.ts';
import { checkRepositoryFile, type Installation } from '../config/repository-file.ts';
import { MAX_REPOSITORY_FILE, REPOSITORY_FILE } from '../domain/configuration.ts';
import { OWN_BRANCHES } from '../domain/run.ts';
import type { GitHubRepository } from '../github/repository.ts';
import { keepBody, keepMessage, keepTitle } from '../policy/markdown/keep.ts';
import type { KeepAllowed } from '../run/trigger/ports.ts';

/** `/agent allow` for good: a pull request that adds the host to the repository's file, for people to merge. One for each host. */
export function keepAllowed(options: {
  repository: (trigger: Parameters<KeepAllowed>[0]['trigger']) => GitHubRepository;
  installation: Installation;
}): KeepAllowed {
  return async ({ trigger, name, entry, record }) => {
    const { defaultBranch } = trigger.repo;
    const repository = options.repository(trigger);
    const branch = keepBranch(name);
    const commit = await repository.headOf(defaultBranch);
    if (commit === null) return { kind: 'cannot', why: 'the repository has no commit yet' };
    const file = await repository.fileAt(commit, { path: REPOSITORY_FILE, maxBytes: MAX_REPOSITORY_FILE });
    if (file !== null && 'problem' in file) return { kind: 'cannot', why: file.problem };
    const added = addWay(file?.text ?? null, entry);
    if ('there' in added) return { kind: 'there' };
    if ('cannot' in added) return { kind: 'cannot', why: added.cannot };
    const checked = checkRepositoryFile(added.text, options.installation);
    if ('problems' in checked) return { kind: 'cannot', why: checked.problems[0]?.message ?? 'it would not be valid' };
    const known = await repository.proposed(branch);
    if (known !== null) return { kind: known.state, pull: { number: known.number, url: known.url } };
    await record(branch);
    const facts = { name, requester: trigger.actor.login, source: trigger.source, entry };
    const pull = await repository.propose({
      branch,
      base: defaultBranch,
      commit,
      path: REPOSITORY_FILE,
      text: added.text,
      message: keepMessage(facts),
      title: keepTitle(facts),
      body: keepBody(facts),
    });
    return { kind: pull.state, pull: { number: pull.number, url: pull.url } };
  };
}

/** Host names and presets are plain; nothing else gets here. */
function keepBranch(name: string): string {
  return `${OWN_BRANCHES}allow-${name.replace(/[^a-z0-9.-]/g, '-').slice(0, 200)}`;
}
