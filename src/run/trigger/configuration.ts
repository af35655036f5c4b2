import { MAX_REPOSITORY_FILE, REPOSITORY_FILE, type CheckedConfiguration } from '../../domain/configuration.ts';
import type { CommitSha, RunId } from '../../domain/ids.ts';
import type { Trigger } from '../../domain/trigger.ts';
import {
  configurationNotes,
  configurationSummary,
  configurationTitle,
  type ConfigurationFacts,
  type ConfigurationNote,
} from '../../policy/markdown/configuration.ts';

/** A file of a commit, as far as it may be read; null: it is not there. */
export type RemoteFile = { text: string; blob: string } | { problem: string } | null;

/** What the check needs of GitHub, on the trigger's repository. All may fail with `github`. */
export interface ConfigurationRepository {
  /** Does the pull request change this path? True as well when there are more files than GitHub lists. */
  changes(number: number, path: string): Promise<boolean>;
  fileAt(commit: CommitSha, file: { path: string; maxBytes: number }): Promise<RemoteFile>;
  /** Is this commit part of that branch? */
  isOn(commit: CommitSha, branch: string): Promise<boolean>;
  /** Writes the check, unless this App has written it for this commit. */
  writeConfigurationCheck(head: CommitSha, check: ConfigurationCheck): Promise<void>;
}

export interface ConfigurationCheck {
  conclusion: 'success' | 'failure';
  title: string;
  summary: string;
  notes: ConfigurationNote[];
}

export interface ConfigurationPorts {
  claim(trigger: Trigger, runIds: RunId[]): Promise<RunId[] | null>;
  repository(trigger: Trigger): ConfigurationRepository;
  /** `null`: no such file. Pure. */
  check(text: string | null): CheckedConfiguration;
}

/**
 * A pull request that changes `.github/cofferdam.yml` gets a check on its head: what is wrong, or what would change. The file is
 * data; nothing in it takes effect before it is on the default branch, and no check is written on a commit that is there.
 */
export async function checkConfiguration(
  ports: ConfigurationPorts,
  trigger: Trigger & { proposal: NonNullable<Trigger['proposal']> },
): Promise<void> {
  if ((await ports.claim(trigger, [])) === null) return;
  const { proposal, repo, source } = trigger;
  const repository = ports.repository(trigger);
  if (!(await repository.changes(source.number, REPOSITORY_FILE))) return;
  const [before, after] = await Promise.all(
    [proposal.base, proposal.head].map((commit) =>
      repository.fileAt(commit, { path: REPOSITORY_FILE, maxBytes: MAX_REPOSITORY_FILE }),
    ),
  );
  if (before === undefined || after === undefined || same(before, after)) return;
  if (await repository.isOn(proposal.head, repo.defaultBranch)) return;
  const facts = compared(ports, { before, after, defaultBranch: repo.defaultBranch });
  if (facts === null) return;
  await repository.writeConfigurationCheck(proposal.head, {
    conclusion: 'problems' in facts.after ? 'failure' : 'success',
    title: configurationTitle(facts),
    summary: configurationSummary(facts),
    notes: configurationNotes(facts),
  });
}

function same(before: RemoteFile, after: RemoteFile): boolean {
  if (before === null || after === null) return before === after;
  return 'blob' in before && 'blob' in after && before.blob === after.blob;
}

function compared(
  ports: ConfigurationPorts,
  files: { before: RemoteFile; after: RemoteFile; defaultBranch: string },
): ConfigurationFacts | null {
  const checked = (file: RemoteFile): CheckedConfiguration => {
    if (file !== null && 'problem' in file) return { problems: [{ line: 1, column: 1, message: file.problem }] };
    return ports.check(file?.text ?? null);
  };
  const [alone, before] = [ports.check(null), checked(files.before)];
  // Without a file only the operator's policy counts, which has been read.
  if (!('effective' in alone)) return null;
  return {
    before: 'effective' in before ? before.effective : alone.effective,
    beforeValid: 'effective' in before,
    after: checked(files.after),
    removed: files.after === null,
    defaultBranch: files.defaultBranch,
  };
}
