import { z } from 'zod';
import { REPOSITORY_FILE } from '../domain/configuration.ts';
import type { CommitSha } from '../domain/ids.ts';
import type { Call } from './call.ts';
import { CHECKS } from './check-run.ts';
import { unless } from './failure.ts';
import type { TokenPermissions } from './tokens.ts';

/** A file of a commit, as far as it may be read; null: it is not there. */
type RemoteFile = { text: string; blob: string } | { problem: string } | null;

export interface ConfigurationVerbs {
  /** Does the pull request change this path? True as well when there are more files than GitHub lists. */
  changes(number: number, path: string): Promise<boolean>;
  fileAt(commit: string, file: { path: string; maxBytes: number }): Promise<RemoteFile>;
  /**
   * The files under these names of the root, which may be directories: content, or null where it is no plain file or a large one.
   * Undefined: there are more than `most`.
   */
  filesUnder(commit: string, roots: readonly string[], most: number): Promise<Map<string, Buffer | null> | undefined>;
  /** Is this commit part of that branch? */
  isOn(commit: CommitSha, branch: string): Promise<boolean>;
  /** Writes the check, unless this App has written it for this commit. */
  writeConfigurationCheck(
    head: CommitSha,
    check: {
      conclusion: 'success' | 'failure';
      title: string;
      summary: string;
      notes: readonly { line: number; column: number; message: string }[];
    },
  ): Promise<void>;
}

const CHECK_NAME = 'Cofferdam configuration';
const READ: TokenPermissions = { contents: 'read', metadata: 'read' };
const READ_PULL: TokenPermissions = { pull_requests: 'read', metadata: 'read' };
/** GitHub lists no more files of a pull request. */
const LISTED = 3_000;

const Content = z.object({
  type: z.string(),
  size: z.number().optional(),
  sha: z.string().optional(),
  encoding: z.string().optional(),
  content: z.string().optional(),
});

/** What a check of the configuration reads and writes; each call has no more rights than it needs. */
export function configurationVerbs(call: Call): ConfigurationVerbs {
  return {
    changes: (number, path) =>
      call('github.changes', READ_PULL, async (octokit, at) => {
        let seen = 0;
        const pages = octokit.paginate.iterator(octokit.rest.pulls.listFiles, {
          ...at,
          pull_number: number,
          per_page: 100,
        });
        for await (const { data } of pages) {
          if (data.some((file) => file.filename === path || file.previous_filename === path)) return true;
          seen += data.length;
        }
        return seen >= LISTED;
      }),
    async fileAt(commit, { path, maxBytes }) {
      const answer = await unless(
        ['not_found'],
        call('github.fileAt', READ, (octokit, at) => octokit.rest.repos.getContent({ ...at, path, ref: commit })),
      );
      return answer === null ? null : contentOf(answer.data, { path, maxBytes });
    },
    async filesUnder(commit, roots, most) {
      const found = new Map<string, Buffer | null>();
      const left = (await listing(call, commit, '')).filter(({ path }) => roots.includes(path.toLowerCase()));
      for (let entry = left.pop(); entry !== undefined; entry = left.pop()) {
        const { path, type } = entry;
        if (found.size + left.length >= most) return undefined;
        if (type === 'dir') left.push(...(await listing(call, commit, path)));
        // What is asked for by the name of a link is answered with its target.
        else found.set(path, type === 'file' ? plainBytes(await contentAt(call, commit, path)) : null);
      }
      return found;
    },
    async isOn(commit, branch) {
      // Not found: they have no history in common.
      const answer = await unless(
        ['not_found'],
        call('github.isOn', READ, (octokit, at) =>
          octokit.rest.repos.compareCommitsWithBasehead({ ...at, basehead: `${branch}...${commit}`, per_page: 1 }),
        ),
      );
      return answer?.data.ahead_by === 0;
    },
    async writeConfigurationCheck(head, check) {
      const { data } = await call('github.findCheck', CHECKS, (octokit, at) =>
        octokit.rest.checks.listForRef({ ...at, ref: head, check_name: CHECK_NAME, filter: 'all', per_page: 100 }),
      );
      const external_id = `configuration:${head}`;
      if (data.check_runs.some((run) => run.external_id === external_id)) return;
      const annotations = check.notes.map(({ line, column, message }) => ({
        path: REPOSITORY_FILE,
        start_line: line,
        end_line: line,
        start_column: column,
        end_column: column,
        annotation_level: 'failure' as const,
        title: CHECK_NAME,
        message,
      }));
      const { conclusion, title, summary } = check;
      await call('github.createCheck', CHECKS, (octokit, at) =>
        octokit.rest.checks.create({
          ...at,
          name: CHECK_NAME,
          head_sha: head,
          external_id,
          status: 'completed',
          conclusion,
          output: { title, summary, annotations },
        }),
      );
    },
  };
}

const Listing = z.array(z.object({ path: z.string(), type: z.string() }));

async function listing(call: Call, commit: string, path: string): Promise<z.infer<typeof Listing>> {
  const parsed = Listing.safeParse(await contentAt(call, commit, path));
  return parsed.success ? parsed.data : [];
}

async function contentAt(call: Call, commit: string, path: string): Promise<unknown> {
  const answer = await unless(
    ['not_found'],
    call('github.filesUnder', READ, (octokit, at) => octokit.rest.repos.getContent({ ...at, path, ref: commit })),
  );
  return answer?.data ?? null;
}

function plainBytes(data: unknown): Buffer | null {
  const parsed = Content.safeParse(data);
  if (!parsed.success || parsed.data.type !== 'file') return null;
  const { encoding, content } = parsed.data;
  return encoding === 'base64' && content !== undefined ? Buffer.from(content, 'base64') : null;
}

function contentOf(data: unknown, wanted: { path: string; maxBytes: number }): RemoteFile {
  const { path, maxBytes } = wanted;
  const parsed = Content.safeParse(data);
  // A directory is answered with a list.
  if (!parsed.success || parsed.data.type !== 'file') return { problem: `${path} is not a plain file` };
  const { size = 0, sha = '', encoding, content } = parsed.data;
  if (size > maxBytes || encoding !== 'base64' || content === undefined) {
    return { problem: `the file is larger than ${Math.floor(maxBytes / 1024)} KiB` };
  }
  return { text: Buffer.from(content, 'base64').toString('utf8'), blob: sha };
}
