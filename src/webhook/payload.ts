/**
 * The parts of GitHub's payloads that a trigger needs. Parsed after the signature was checked, but still with care: titles, bodies and
 * names are what anybody on GitHub typed. Everything else in a payload is dropped here.
 */
import { z } from 'zod';
import { CommitSha, RunId } from '../domain/ids.ts';

const Person = z.object({ login: z.string().min(1).max(100), id: z.number().int(), type: z.string().max(40) });

const Repository = z.object({
  id: z.number().int(),
  name: z.string(),
  owner: z.object({ login: z.string() }),
  default_branch: z.string(),
  private: z.boolean(),
  html_url: z.string().max(1000).catch(''),
});

/** What an issue and a pull request have in common. */
const Thread = z.object({
  id: z.number().int(),
  number: z.number().int().positive(),
  title: z.string().max(1024),
  body: z.string().max(300_000).nullish(),
  html_url: z.string().max(1000),
  updated_at: z.string().max(40),
  user: Person.partial().nullish(),
});
export type Thread = z.infer<typeof Thread>;

const Issue = Thread.extend({ pull_request: z.object({}).nullish() });

const Common = {
  repository: Repository,
  sender: Person,
  installation: z.object({ id: z.number().int().positive() }),
};

export const IssueLabeled = z.object({
  ...Common,
  action: z.literal('labeled'),
  issue: Issue,
  label: z.object({ name: z.string().min(1).max(100) }),
});
export type IssueLabeled = z.infer<typeof IssueLabeled>;

export const IssueCommentCreated = z.object({
  ...Common,
  action: z.literal('created'),
  issue: Issue,
  comment: z.object({
    id: z.number().int(),
    body: z.string().max(300_000).nullish(),
    created_at: z.string().max(40),
    updated_at: z.string().max(40),
    html_url: z.string().max(1000),
    user: Person,
    performed_via_github_app: z.unknown(),
  }),
});
export type IssueCommentCreated = z.infer<typeof IssueCommentCreated>;

/** The pull request of a review; branch and author say whether it may be one of this App's. */
const ReviewedPull = Thread.extend({ head: z.object({ ref: z.string().max(255) }) });

export const ReviewSubmitted = z.object({
  ...Common,
  action: z.literal('submitted'),
  pull_request: ReviewedPull,
  review: z.object({
    id: z.number().int(),
    body: z.string().max(300_000).nullish(),
    state: z.string().max(40),
    submitted_at: z.string().max(40),
    user: Person,
  }),
});

export type ReviewSubmitted = z.infer<typeof ReviewSubmitted>;

export const ReviewCommentCreated = z.object({
  ...Common,
  action: z.literal('created'),
  pull_request: ReviewedPull,
  comment: z.object({
    id: z.number().int(),
    pull_request_review_id: z.number().int().nullish(),
    path: z.string().max(4_096),
    body: z.string().max(300_000),
    created_at: z.string().max(40),
    updated_at: z.string().max(40),
    user: Person,
  }),
});

const Pulls = z.array(z.object({ number: z.number().int().positive() })).max(1_000);

/** What a CI run says of itself: a suite of checks, or a workflow. */
const Result = z.object({
  head_branch: z.string().max(255).nullish(),
  head_sha: CommitSha,
  conclusion: z.string().max(40).nullish(),
  updated_at: z.string().max(40),
  pull_requests: Pulls,
});
export type Result = z.infer<typeof Result>;

export const CheckSuiteCompleted = z.object({
  ...Common,
  action: z.literal('completed'),
  check_suite: Result.extend({ id: z.number().int() }),
});
export type CheckSuiteCompleted = z.infer<typeof CheckSuiteCompleted>;

export const WorkflowRunCompleted = z.object({
  ...Common,
  action: z.literal('completed'),
  workflow_run: Result.extend({ check_suite_id: z.number().int() }),
});

export const ButtonClicked = z.object({
  ...Common,
  action: z.literal('requested_action'),
  check_run: z.object({
    id: z.number().int(),
    external_id: RunId,
    started_at: z.string().max(40).nullish(),
    completed_at: z.string().max(40).nullish(),
    pull_requests: Pulls,
  }),
  requested_action: z.object({ identifier: z.string().min(1).max(20) }),
});

const PROPOSALS = ['opened', 'synchronize', 'reopened'] as const;

export const PullProposed = z.object({
  ...Common,
  action: z.enum(PROPOSALS),
  pull_request: Thread.extend({
    head: z.object({
      ref: z.string().max(255),
      sha: CommitSha,
      // The fork may be gone.
      repo: z.object({ id: z.number().int() }).nullish(),
    }),
    base: z.object({ sha: CommitSha }),
  }),
});

/** What every delivery looks like; checked before anything else reads it. */
export const Envelope = z.looseObject({
  action: z.string().max(100).optional(),
  installation: z.object({ id: z.number().int().positive() }).nullish(),
});
export type Envelope = z.infer<typeof Envelope>;
