import { writeFile } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';
import { CofferdamError } from '../domain/errors.ts';
import { git, gitText } from '../git/git.ts';
import type { AgentMessage, Publisher, RunProgress } from '../run/ports.ts';

/** The git directory of a repository that the user named. Errors: `usage`. */
export async function localGitDir(path: string): Promise<string> {
  return gitText({
    op: 'cli.localGitDir',
    code: 'usage',
    args: ['-C', path, 'rev-parse', '--absolute-git-dir'],
    // The user named this path; under sudo it belongs to somebody else.
    config: [
      ['safe.directory', '*'],
      ['safe.bareRepository', 'all'],
    ],
  });
}

/**
 * Delivers into a local repository: a new branch (never an existing one, never checked out) and a patch file.
 * `gitDir` is undefined when the source is a URL: then the patch is all there is.
 */
export function createLocalPublisher(options: {
  gitDir: string | undefined;
  patchFile: string;
  onProgress: (progress: RunProgress) => void;
  onMessage: (message: AgentMessage) => void;
}): Publisher {
  return {
    progress: options.onProgress,
    message: options.onMessage,
    async publish({ spec, harvest, audit, signal }) {
      await audit.append({
        zone: 'worker',
        type: 'publish.local',
        data: {
          branch: options.gitDir === undefined ? null : spec.branch,
          commit: harvest.commit,
          patchFile: options.patchFile,
        },
      });
      if (harvest.patchTruncated && options.gitDir === undefined) {
        throw new CofferdamError(
          'harvest',
          'cli.publish',
          'the change is too large for a patch file; clone the repository and give its path to --repo',
        );
      }
      await writeFile(options.patchFile, harvest.patch, { flag: 'wx' }).catch((cause: unknown) => {
        throw new CofferdamError('usage', 'cli.publish', `cannot create ${options.patchFile}`, cause);
      });
      if (options.gitDir !== undefined) {
        const refspec = `${harvest.commit}:refs/heads/${spec.branch}`;
        await git({
          op: 'cli.publish',
          code: 'harvest',
          gitDir: options.gitDir,
          args: [
            'fetch',
            '--quiet',
            '--no-tags',
            '--no-write-fetch-head',
            '--',
            pathToFileURL(harvest.repository).href,
            refspec,
          ],
          transport: { protocol: 'file' },
          config: [
            ['safe.directory', '*'],
            ['safe.bareRepository', 'all'],
            ['uploadpack.allowAnySHA1InWant', 'true'],
          ],
          timeoutMs: 300_000,
          signal,
        });
      }
      return { branch: spec.branch, head: harvest.commit };
    },
    finish: () => Promise.resolve(),
  };
}
