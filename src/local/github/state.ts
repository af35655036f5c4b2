/** What the stand-in remembers: plain JSON, so that it can be written to a file and read again. Logins are the keys of people. */

export type Role = 'admin' | 'maintain' | 'write' | 'triage' | 'read' | 'none';
export type Permissions = Record<string, 'read' | 'write' | 'admin'>;

export interface User {
  id: number;
  login: string;
  name: string | null;
  type: 'User' | 'Organization' | 'Bot';
}

export interface App {
  id: number;
  slug: string;
  name: string;
  clientId: string;
  /** Login of the account that owns the App. */
  owner: string;
  permissions: Permissions;
  events: string[];
  createdAt: string;
}

export interface Installation {
  id: number;
  account: string;
  selection: 'all' | 'selected';
  /** Only meaningful with `selected`. */
  repositoryIds: number[];
  suspendedAt: string | null;
  createdAt: string;
}

export interface Label {
  id: number;
  name: string;
  color: string;
  description: string | null;
}

export interface Repository {
  id: number;
  owner: string;
  name: string;
  description: string | null;
  private: boolean;
  archived?: boolean;
  /** Names under which it is still found: GitHub redirects from them. */
  former?: { owner: string; name: string }[];
  defaultBranch: string;
  /** Off: a draft pull request is refused, as on plans without them. */
  drafts: boolean;
  collaborators: Record<string, Role>;
  labels: Label[];
  /** Issues and pull requests count together. */
  nextNumber: number;
  forkOf: number | null;
  createdAt: string;
  pushedAt: string;
}

export interface PullData {
  id: number;
  headRepoId: number;
  headRef: string;
  headSha: string;
  baseRef: string;
  baseSha: string;
  draft: boolean;
  mergedAt: string | null;
  mergedBy: string | null;
  mergeCommitSha: string | null;
  maintainerCanModify: boolean;
  requestedReviewers: string[];
  /** Slugs of teams of the owner. */
  requestedTeams?: string[];
}

/** An issue, or a pull request when `pull` is there. */
export interface Thread {
  id: number;
  repoId: number;
  number: number;
  title: string;
  body: string | null;
  author: string;
  viaApp: boolean;
  state: 'open' | 'closed';
  stateReason: 'completed' | 'reopened' | 'not_planned' | 'duplicate' | null;
  labels: string[];
  assignees: string[];
  createdAt: string;
  updatedAt: string;
  closedAt: string | null;
  locked?: boolean;
  deleted?: boolean;
  /** It is in another repository by now. */
  transferred?: boolean;
  pull: PullData | null;
}

export interface Comment {
  id: number;
  repoId: number;
  number: number;
  author: string;
  viaApp: boolean;
  body: string;
  createdAt: string;
  updatedAt: string;
}

export type ReviewState = 'APPROVED' | 'CHANGES_REQUESTED' | 'COMMENTED' | 'PENDING';

export interface Review {
  id: number;
  repoId: number;
  number: number;
  author: string;
  body: string;
  state: ReviewState;
  commitId: string;
  submittedAt: string;
}

export interface ReviewComment {
  id: number;
  repoId: number;
  number: number;
  reviewId: number;
  author: string;
  body: string;
  path: string;
  line: number | null;
  startLine: number | null;
  side: 'LEFT' | 'RIGHT';
  subjectType: 'line' | 'file';
  commitId: string;
  diffHunk: string;
  inReplyTo: number | null;
  createdAt: string;
  updatedAt: string;
}

export const reactionContents = ['+1', '-1', 'laugh', 'confused', 'heart', 'hooray', 'rocket', 'eyes'] as const;
export type ReactionContent = (typeof reactionContents)[number];

export interface ReactionSubject {
  kind: 'issue' | 'comment' | 'review_comment';
  /** The database id of the thread or comment. */
  id: number;
}

export interface Reaction {
  id: number;
  repoId: number;
  subject: ReactionSubject;
  user: string;
  content: ReactionContent;
  createdAt: string;
}

export type CheckStatus = 'queued' | 'in_progress' | 'completed' | 'waiting' | 'requested' | 'pending';
export type Conclusion =
  'action_required' | 'cancelled' | 'failure' | 'neutral' | 'success' | 'skipped' | 'stale' | 'timed_out';

export interface CheckSuite {
  id: number;
  repoId: number;
  app: string;
  headSha: string;
  headBranch: string | null;
  createdAt: string;
  updatedAt: string;
}

export interface Annotation {
  path: string;
  start_line: number;
  end_line: number;
  start_column: number | null;
  end_column: number | null;
  annotation_level: 'notice' | 'warning' | 'failure';
  message: string;
  title: string | null;
  raw_details: string | null;
}

export interface CheckAction {
  label: string;
  description: string;
  identifier: string;
}

export interface CheckRun {
  id: number;
  repoId: number;
  suiteId: number;
  /** Slug of the App that owns it. */
  app: string;
  name: string;
  headSha: string;
  status: CheckStatus;
  conclusion: Conclusion | null;
  startedAt: string | null;
  completedAt: string | null;
  externalId: string | null;
  detailsUrl: string | null;
  title: string | null;
  summary: string | null;
  text: string | null;
  annotations: Annotation[];
  actions: CheckAction[];
}

export interface CommitStatus {
  id: number;
  repoId: number;
  sha: string;
  state: 'error' | 'failure' | 'pending' | 'success';
  context: string;
  description: string | null;
  targetUrl: string | null;
  creator: string;
  createdAt: string;
}

export interface WorkflowRun {
  id: number;
  repoId: number;
  suiteId: number;
  runNumber: number;
  name: string;
  path: string;
  headBranch: string;
  headSha: string;
  event: string;
  conclusion: Conclusion;
  actor: string;
  createdAt: string;
}

export interface WorkflowJob {
  id: number;
  repoId: number;
  runId: number;
  name: string;
  conclusion: 'success' | 'failure';
  log: string;
  createdAt: string;
}

export interface Delivery {
  id: number;
  guid: string;
  event: string;
  action: string | null;
  deliveredAt: string;
  redelivery: boolean;
  installationId: number | null;
  repositoryId: number | null;
  /** Seconds, as GitHub reports them. */
  duration: number;
  status: string;
  /** 0 when nobody answered. */
  statusCode: number;
  request: string;
  response: string;
}

/** One branch moved: by git, by the API or by a merge. */
export interface Push {
  repoId: number;
  ref: string;
  before: string;
  after: string;
  forced: boolean;
  actor: string;
  at: string;
}

export interface Token {
  token: string;
  installationId: number;
  /** Null: every repository of the installation. */
  repositoryIds: number[] | null;
  permissions: Permissions;
  expiresAt: string;
}

export interface Team {
  id: number;
  /** Login of the organisation. */
  org: string;
  slug: string;
  /** Who was asked to join and has not said yes is `pending`. */
  members: Record<string, 'active' | 'pending'>;
}

export interface State {
  version: 1;
  nextId: number;
  app: App;
  users: User[];
  teams: Team[];
  installations: Installation[];
  repositories: Repository[];
  threads: Thread[];
  comments: Comment[];
  reviews: Review[];
  reviewComments: ReviewComment[];
  reactions: Reaction[];
  checkSuites: CheckSuite[];
  checkRuns: CheckRun[];
  statuses: CommitStatus[];
  workflowRuns: WorkflowRun[];
  jobs: WorkflowJob[];
  pushes: Push[];
  deliveries: Delivery[];
  tokens: Token[];
  /** Tokens of people, for git and the API: token → login. */
  userTokens: Record<string, string>;
}

/** A state with an App and nothing else. */
export function emptyState(app: App): State {
  return {
    version: 1,
    nextId: 1_000,
    app,
    users: [],
    teams: [],
    installations: [],
    repositories: [],
    threads: [],
    comments: [],
    reviews: [],
    reviewComments: [],
    reactions: [],
    checkSuites: [],
    checkRuns: [],
    statuses: [],
    workflowRuns: [],
    jobs: [],
    pushes: [],
    deliveries: [],
    tokens: [],
    userTokens: {},
  };
}
