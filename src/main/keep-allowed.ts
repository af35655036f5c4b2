import { addWay } from '../config/add-way.ts';
import { checkRepositoryFile, type Installation } from '../config/repository-file.ts';
import { MAX_REPOSITORY_FILE, REPOSITORY_FILE } from '../domain/configuration.ts';
import { OWN_BRANCHES } from '../domain/run.ts';
import type { EgressEntry } from '../domain/policy.ts';
import type { GitHubRepository } from '../github/repository.ts';
import type { KeptFacts } from '../policy/markdown/allow.ts';
import { keepBody, keepMessage, keepTitle, type KeepFacts } from '../policy/markdown/keep.ts';
import type { KeepAllowed } from '../run/trigger/ports.ts';

/**
 * `/agent allow` for good: a pull request that adds the host to the repository's file, for people to merge. One for each host,
 * which more methods are added to while it is open.
 */
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
    const change = async (ref: string): Promise<Change | KeptFacts> =>
      changeOf(options.installation, await read(repository, ref), entry);
    const added = await change(commit);
    if ('kind' in added) return added;
    const known = await repository.proposed(branch);
    const facts = { name, requester: trigger.actor.login, source: trigger.source };
    if (known !== null) {
      const pull = { number: known.number, url: known.url };
      const more = known.state === 'open' ? await change(branch) : undefined;
      if (more === undefined || ('kind' in more && more.kind === 'there')) return { kind: known.state, pull };
      if ('kind' in more) return more;
      await record(branch);
      await repository.amend(known, {
        branch,
        path: REPOSITORY_FILE,
        ...wordsOf({ ...facts, entry: more.entry }),
        text: more.text,
      });
      return { kind: 'widened', pull };
    }
    await record(branch);
    const pull = await repository.propose({
      branch,
      base: defaultBranch,
      commit,
      path: REPOSITORY_FILE,
      text: added.text,
      ...wordsOf({ ...facts, entry: added.entry }),
    });
    return { kind: pull.state, pull: { number: pull.number, url: pull.url } };
  };
}

interface Change {
  text: string;
  /** As it stands in the file then. */
  entry: EgressEntry;
}

type RepositoryText = Awaited<ReturnType<GitHubRepository['fileAt']>>;

function read(repository: GitHubRepository, ref: string): Promise<RepositoryText> {
  return repository.fileAt(ref, { path: REPOSITORY_FILE, maxBytes: MAX_REPOSITORY_FILE });
}

/** The file with the entry, when that is something new and valid; otherwise what people are told. */
function changeOf(installation: Installation, file: RepositoryText, entry: EgressEntry): Change | KeptFacts {
  if (file !== null && 'problem' in file) return { kind: 'cannot', why: file.problem };
  const added = addWay(file?.text ?? null, entry);
  if ('there' in added) return { kind: 'there' };
  if ('cannot' in added) return { kind: 'cannot', why: added.cannot };
  const checked = checkRepositoryFile(added.text, installation);
  if ('problems' in checked) return { kind: 'cannot', why: checked.problems[0]?.message ?? 'it would not be valid' };
  return added;
}

function wordsOf(facts: KeepFacts): { message: string; title: string; body: string } {
  return { message: keepMessage(facts), title: keepTitle(facts), body: keepBody(facts) };
}

/** Host names and presets are plain; nothing else gets here. */
function keepBranch(name: string): string {
  return `${OWN_BRANCHES}allow-${name.replace(/[^a-z0-9.-]/g, '-').slice(0, 200)}`;
}
