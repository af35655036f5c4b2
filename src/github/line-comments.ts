import { z } from 'zod';
import type { LineComment } from '../domain/review.ts';
import type { Call, RepositoryParts } from './call.ts';
import { isOurs } from './ours.ts';
import type { TokenPermissions } from './tokens.ts';

export interface LineVerbs {
  /** Comments on lines of the diff, oldest first. */
  lineComments(number: number): Promise<LineComment[]>;
  /** Answers in the thread that begins with this comment. */
  answerLine(number: number, answer: { to: LineComment; sha: string; body: string }): Promise<void>;
}

const PULLS: TokenPermissions = { pull_requests: 'write', contents: 'read', metadata: 'read' };

const Line = z.object({
  id: z.number(),
  in_reply_to_id: z.number().optional(),
  pull_request_review_id: z.number().nullish(),
  user: z.object({ login: z.string(), id: z.number(), type: z.string().optional() }).nullish(),
  path: z.string(),
  line: z.number().nullish(),
  diff_hunk: z.string(),
  body: z.string(),
  updated_at: z.string(),
});

export function lineVerbs(call: Call, parts: RepositoryParts): LineVerbs {
  return {
    async lineComments(number) {
      const login = await parts.tokens.login();
      const listed = await call('github.lineComments', PULLS, (octokit, at) =>
        octokit.paginate(octokit.rest.pulls.listReviewComments, { ...at, pull_number: number, per_page: 100 }),
      );
      return z
        .array(Line)
        .parse(listed)
        .map((one) => ({
          id: one.id,
          inReplyTo: one.in_reply_to_id,
          reviewId: one.pull_request_review_id ?? undefined,
          author: one.user?.login ?? 'ghost',
          authorId: one.user?.id,
          authorType: one.user?.type ?? 'User',
          path: one.path,
          line: one.line ?? undefined,
          hunk: one.diff_hunk,
          body: one.body,
          updatedAt: one.updated_at,
          ours: isOurs(one.user, login),
        }));
    },
    async answerLine(number, { to, sha, body }) {
      // The path of GitHub for answers is not open to Apps; this one is. `in_reply_to` decides, the rest is asked for by the schema.
      await call('github.answerLine', PULLS, (octokit, at) =>
        octokit.rest.pulls.createReviewComment({
          ...at,
          pull_number: number,
          commit_id: sha,
          path: to.path,
          in_reply_to: to.inReplyTo ?? to.id,
          body,
        }),
      );
    },
  };
}
