/** What a demo or a test does on one repository, and what it can look at. Every act is somebody's, and sends GitHub's webhooks. */
import { clickAction, rerequest, rerequestSuite } from './acts/checks.ts';
import { reportCi, type CiResult } from './acts/ci.ts';
import { mergePull, openPull, setDraft, type NewPull } from './acts/pulls.ts';
import { commitAs, forkRepository, removeInstallation, setSuspended, uninstall } from './acts/repositories.ts';
import { addReviewComment, submitReview, type LineComment } from './acts/reviews.ts';
import {
  addComment,
  addLabels,
  deleteComment,
  editComment,
  openIssue,
  removeLabel,
  updateThread,
  type Actor,
  type ThreadChange,
} from './acts/threads.ts';
import { changes, comparisonBase, diffText, fileAt, type Files } from './git-content.ts';
import type { CommitInfo, FileChange } from './git-format.ts';
import { listRefs, log, resolveCommit } from './git.ts';
import type {
  CheckRun,
  Comment,
  Reaction,
  Repository,
  Review,
  ReviewComment,
  ReviewState,
  Role,
  Thread,
} from './state.ts';
import {
  ensureUser,
  findPull,
  findThread,
  installationFor,
  isPull,
  repositoryDir,
  type PullThread,
  type World,
} from './world.ts';

export interface RepositoryHandle {
  readonly repository: Readonly<Repository>;
  readonly fullName: string;
  /** Address of its page. */
  readonly page: string;
  readonly cloneUrl: string;
  /** The bare repository on disk. */
  readonly gitDir: string;

  openIssue: (issue: { title: string; body?: string; author?: string; labels?: readonly string[] }) => Promise<Thread>;
  openPull: (
    pull: Omit<NewPull, 'body' | 'draft'> & { body?: string; draft?: boolean; author?: string },
  ) => Promise<PullThread>;
  /** Title, body, state, labels of an issue or pull request. */
  update: (number: number, change: ThreadChange & { author?: string }) => Promise<void>;
  setDraft: (number: number, draft: boolean, author?: string) => Promise<void>;
  merge: (number: number, author?: string) => Promise<void>;
  comment: (number: number, comment: { body: string; author?: string }) => Comment;
  editComment: (id: number, edit: { body: string; author?: string }) => void;
  deleteComment: (id: number, author?: string) => void;
  addLabel: (number: number, label: string, author?: string) => Promise<void>;
  removeLabel: (number: number, label: string, author?: string) => Promise<void>;
  review: (
    number: number,
    review: { state: ReviewState; body?: string; author?: string; comments?: readonly LineComment[] },
  ) => Promise<Review>;
  reviewComment: (
    number: number,
    comment: LineComment & { inReplyTo?: number; author?: string },
  ) => Promise<ReviewComment>;
  clickAction: (checkRunId: number, identifier: string, author?: string) => void;
  rerequest: (checkRunId: number, author?: string) => void;
  /** Asks for all checks of the App on a commit again. */
  rerequestSuite: (checkRunId: number, author?: string) => Promise<void>;
  reportCi: (result: CiResult) => Promise<number>;
  /** A commit by a person; a new branch begins at `from`, else at the default branch (`''`: at nothing). Returns its object name. */
  commit: (commit: {
    message: string;
    files: Files;
    branch?: string;
    from?: string;
    author?: string;
  }) => Promise<string>;
  /** A fork under somebody's account, without the App. */
  fork: (login: string) => Promise<RepositoryHandle>;
  setRole: (login: string, role: Role) => void;
  /** Takes the App off this repository. */
  uninstall: () => void;
  /** Removes the App from the whole account. */
  deleteInstallation: () => void;
  setSuspended: (suspended: boolean) => void;
  setArchived: (archived: boolean) => void;
  /** Only people with write access may say something there. */
  setLocked: (number: number, locked: boolean) => void;
  deleteIssue: (number: number) => void;
  /** To another repository, which a token of this one does not reach. */
  transferIssue: (number: number) => void;
  /** To another name, or another account (without the App): the old address redirects. */
  move: (to: { owner?: string; name?: string }) => void;

  thread: (number: number) => Thread;
  issues: () => Thread[];
  pulls: () => PullThread[];
  comments: (number: number) => Comment[];
  reviews: (number: number) => Review[];
  reviewComments: (number: number) => ReviewComment[];
  /** Reactions to the thread itself, or to one of its comments. */
  reactions: (on: { number: number } | { commentId: number }) => Reaction[];
  checkRuns: (sha?: string) => CheckRun[];
  /** Branch → object name. */
  branches: () => Promise<Map<string, string>>;
  file: (path: string, ref?: string) => Promise<Buffer | undefined>;
  /** Newest first. */
  log: (ref?: string) => Promise<CommitInfo[]>;
  /** The files of a pull request. */
  files: (number: number) => Promise<FileChange[]>;
  diff: (number: number) => Promise<string>;
}

function findComment(world: World, repository: Repository, id: number): Comment {
  const comment = world.state.comments.find((one) => one.repoId === repository.id && one.id === id);
  if (comment === undefined) throw new RangeError(`no comment ${id}`);
  return comment;
}

function findRun(world: World, repository: Repository, id: number): CheckRun {
  const run = world.state.checkRuns.find((one) => one.repoId === repository.id && one.id === id);
  if (run === undefined) throw new RangeError(`no check run ${id}`);
  return run;
}

/** Somebody with that login (made when new); the owner when nobody is named. */
function person(world: World, repository: Repository, login: string | undefined): Actor {
  return { login: ensureUser(world, login ?? repository.owner).login, viaApp: false };
}

type Acts = Omit<RepositoryHandle, keyof Views | 'repository' | 'fullName' | 'page' | 'cloneUrl' | 'gitDir'>;
type Views = Pick<
  RepositoryHandle,
  | 'thread'
  | 'issues'
  | 'pulls'
  | 'comments'
  | 'reviews'
  | 'reviewComments'
  | 'reactions'
  | 'checkRuns'
  | 'branches'
  | 'file'
  | 'log'
  | 'files'
  | 'diff'
>;

function threadActs(world: World, repository: Repository) {
  const who = (login: string | undefined): Actor => person(world, repository, login);
  const thread = (number: number): Thread => findThread(world, repository, number);
  return {
    openIssue: ({ author, title, body, labels }) =>
      openIssue(world, repository, who(author), { title, body: body ?? null, labels: labels ?? [] }),
    update: (number, { author, ...change }) => updateThread(world, thread(number), who(author), change),
    comment: (number, { author, body }) => addComment(world, thread(number), who(author), body),
    editComment: (id, { author, body }) => editComment(world, findComment(world, repository, id), who(author), body),
    deleteComment: (id, author) => deleteComment(world, findComment(world, repository, id), who(author)),
    addLabel: (number, label, author) => addLabels(world, thread(number), who(author), [label]),
    removeLabel: (number, label, author) => removeLabel(world, thread(number), who(author), label),
  } satisfies Partial<Acts>;
}

function pullActs(world: World, repository: Repository) {
  const who = (login: string | undefined): Actor => person(world, repository, login);
  const pull = (number: number): PullThread => findPull(world, repository, number);
  return {
    openPull: ({ author, body, draft, ...rest }) =>
      openPull(world, repository, who(author), { ...rest, body: body ?? null, draft: draft ?? false }),
    setDraft: (number, draft, author) => setDraft(world, pull(number), who(author), draft),
    merge: (number, author) => mergePull(world, pull(number), who(author)),
    review: (number, { author, body, ...rest }) =>
      submitReview(world, pull(number), who(author), { ...rest, body: body ?? '' }),
    reviewComment: (number, { author, ...comment }) => addReviewComment(world, pull(number), who(author), comment),
  } satisfies Partial<Acts>;
}

function otherActs(world: World, repository: Repository) {
  const who = (login: string | undefined): string => person(world, repository, login).login;
  return {
    clickAction: (id, identifier, author) =>
      clickAction(world, findRun(world, repository, id), { identifier, login: who(author) }),
    rerequest: (id, author) => rerequest(world, findRun(world, repository, id), who(author)),
    rerequestSuite: (id, author) => rerequestSuite(world, findRun(world, repository, id), who(author)),
    reportCi: async (result) => (await reportCi(world, repository, result)).id,
    commit: ({ author, ...commit }) => commitAs(world, repository, { login: who(author), ...commit }),
    fork: async (login) => repositoryHandle(world, await forkRepository(world, repository, who(login))),
    setRole: (login, role) => {
      repository.collaborators[ensureUser(world, login).login] = role;
      world.changed();
    },
    uninstall: () => uninstall(world, repository),
    deleteInstallation: () => {
      const installation = installationFor(world, repository);
      if (installation !== undefined) removeInstallation(world, installation);
    },
    setArchived: (archived) => {
      repository.archived = archived;
      world.changed();
    },
    setLocked: (number, locked) => {
      findThread(world, repository, number).locked = locked;
      world.changed();
    },
    deleteIssue: (number) => {
      findThread(world, repository, number).deleted = true;
      world.changed();
    },
    transferIssue: (number) => {
      findThread(world, repository, number).transferred = true;
      world.changed();
    },
    move: ({ owner = repository.owner, name = repository.name }) => {
      repository.former = [...(repository.former ?? []), { owner: repository.owner, name: repository.name }];
      repository.owner = ensureUser(world, owner).login;
      repository.name = name;
      world.changed();
    },
    setSuspended: (suspended) => {
      const installation = installationFor(world, repository);
      if (installation !== undefined) setSuspended(world, installation, suspended);
    },
  } satisfies Partial<Acts>;
}

function views(world: World, repository: Repository): Views {
  const dir = repositoryDir(world, repository);
  const of = <T extends { repoId: number; number: number }>(list: readonly T[], number: number): T[] =>
    list.filter((one) => one.repoId === repository.id && one.number === number);
  const threads = (): Thread[] => world.state.threads.filter((one) => one.repoId === repository.id);
  const head = async (ref: string | undefined): Promise<string> => {
    const sha = await resolveCommit(dir, ref ?? repository.defaultBranch);
    if (sha === undefined) throw new RangeError(`no commit ${ref ?? repository.defaultBranch}`);
    return sha;
  };
  const sides = async (number: number): Promise<[string, string]> => {
    const { pull } = findPull(world, repository, number);
    return [await comparisonBase(dir, pull.baseSha, pull.headSha), pull.headSha];
  };
  return {
    thread: (number) => findThread(world, repository, number),
    issues: () => threads().filter((one) => !isPull(one)),
    pulls: () => threads().filter(isPull),
    comments: (number) => of(world.state.comments, number),
    reviews: (number) => of(world.state.reviews, number),
    reviewComments: (number) => of(world.state.reviewComments, number),
    reactions: (on) => {
      const subject =
        'number' in on
          ? { kind: 'issue', id: findThread(world, repository, on.number).id }
          : { kind: 'comment', id: on.commentId };
      return world.state.reactions.filter((one) => one.subject.kind === subject.kind && one.subject.id === subject.id);
    },
    checkRuns: (sha) =>
      world.state.checkRuns.filter((one) => one.repoId === repository.id && (sha === undefined || one.headSha === sha)),
    branches: async () =>
      new Map([...(await listRefs(dir, 'refs/heads'))].map(([ref, sha]) => [ref.replace(/^refs\/heads\//, ''), sha])),
    file: async (path, ref) => fileAt(dir, await head(ref), path),
    log: async (ref) => log(dir, [await head(ref)]),
    files: async (number) => changes(dir, ...(await sides(number))),
    diff: async (number) => diffText(dir, ...(await sides(number))),
  };
}

export function repositoryHandle(world: World, repository: Repository): RepositoryHandle {
  const page = `${world.origin}/${repository.owner}/${repository.name}`;
  return {
    repository,
    fullName: `${repository.owner}/${repository.name}`,
    page,
    cloneUrl: `${page}.git`,
    gitDir: repositoryDir(world, repository),
    ...threadActs(world, repository),
    ...pullActs(world, repository),
    ...otherActs(world, repository),
    ...views(world, repository),
  };
}
