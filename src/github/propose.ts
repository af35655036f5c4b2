import { z } from 'zod';
import type { Call } from './call.ts';
import { GitHubError, unless } from './failure.ts';
import type { TokenPermissions } from './tokens.ts';

/** A change of one file, to be looked at by people. */
export interface Proposal {
  branch: string;
  /** Branch that it is meant for, and the commit of it that was read. */
  base: string;
  commit: string;
  path: string;
  text: string;
  message: string;
  title: string;
  body: string;
}

export interface Proposed {
  number: number;
  url: string;
  state: 'opened' | 'open' | 'closed';
}

export interface ProposalVerbs {
  /** The pull request of this branch, as it is now; null: there is none. A merged one counts as none. */
  proposed(branch: string): Promise<Proposed | null>;
  /**
   * One commit with one file on a branch of its own, and its pull request. Safe to repeat: a branch has one open pull request, and
   * what an attempt before left is gone on with.
   */
  propose(proposal: Proposal): Promise<Proposed>;
  /**
   * Another content of the file, as one more commit on the branch of an open pull request, and what the pull request says then. What
   * others put on the branch stays. Safe to repeat.
   */
  amend(known: Proposed, proposal: Omit<Proposal, 'base' | 'commit'>): Promise<void>;
}

const READ: TokenPermissions = { pull_requests: 'read', metadata: 'read' };
const WRITE: TokenPermissions = { contents: 'write', metadata: 'read' };
const OPEN: TokenPermissions = { pull_requests: 'write', contents: 'read', metadata: 'read' };

const File = z.object({ sha: z.string(), encoding: z.string().optional(), content: z.string().optional() });

export function proposalVerbs(call: Call): ProposalVerbs {
  const proposed: ProposalVerbs['proposed'] = async (branch) => {
    const { data } = await call('github.proposed', READ, (octokit, at) =>
      octokit.rest.pulls.list({ ...at, head: `${at.owner}:${branch}`, state: 'all', per_page: 30 }),
    );
    const ours = data.filter((pull) => pull.head.ref === branch && pull.merged_at === null);
    const found = ours.find((pull) => pull.state === 'open') ?? ours[0];
    if (found === undefined) return null;
    return { number: found.number, url: found.html_url, state: found.state === 'open' ? 'open' : 'closed' };
  };
  return {
    proposed,
    async propose(proposal) {
      await onBranch(call, proposal);
      const { branch: head, base, title, body } = proposal;
      try {
        const { data } = await call('github.propose', OPEN, (octokit, at) =>
          octokit.rest.pulls.create({ ...at, head, base, title, body }),
        );
        return { number: data.number, url: data.html_url, state: 'opened' };
      } catch (thrown) {
        // The answer was lost, or another was faster.
        const made = await proposed(head);
        if (made?.state === 'open') return made;
        throw thrown;
      }
    },
    async amend({ number }, { title, body, ...file }) {
      // What people read comes first: an attempt that ends in between is told by the file and made again.
      await call('github.amend', OPEN, (octokit, at) =>
        octokit.rest.pulls.update({ ...at, pull_number: number, title, body }),
      );
      await writeFile(call, file);
    },
  };
}

/** The branch, with exactly this content of the file. */
async function onBranch(call: Call, proposal: Proposal): Promise<void> {
  const { branch, commit } = proposal;
  const made = call('github.createBranch', WRITE, (octokit, at) =>
    octokit.rest.git.createRef({ ...at, ref: `refs/heads/${branch}`, sha: commit }),
  );
  await made.catch((thrown: unknown) => {
    if (!(thrown instanceof GitHubError) || thrown.kind !== 'invalid') throw thrown;
    // Left by an attempt that ended, or by a pull request that was merged: it begins anew where the base is now.
    return call('github.renewBranch', WRITE, (octokit, at) =>
      octokit.rest.git.updateRef({ ...at, ref: `heads/${branch}`, sha: commit, force: true }),
    );
  });
  await writeFile(call, proposal);
}

/** One more commit, unless the file is like that. Nothing is forced: a branch that moves meanwhile fails with `conflict`. */
async function writeFile(
  call: Call,
  { branch, path, text, message }: Pick<Proposal, 'branch' | 'path' | 'text' | 'message'>,
): Promise<void> {
  const there = await unless(
    ['not_found'],
    call('github.readProposal', WRITE, (octokit, at) => octokit.rest.repos.getContent({ ...at, path, ref: branch })),
  );
  const known = there === null ? undefined : File.parse(there.data);
  const content = Buffer.from(text, 'utf8').toString('base64');
  if (known?.content?.replace(/\s/g, '') === content) return;
  await call('github.writeProposal', WRITE, (octokit, at) =>
    octokit.rest.repos.createOrUpdateFileContents({
      ...at,
      path,
      branch,
      message,
      content,
      ...(known === undefined ? {} : { sha: known.sha }),
    }),
  );
}
