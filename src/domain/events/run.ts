import { z } from 'zod';
import { EndReason, FinalState } from '../final-state.ts';
import {
  Arguments,
  as,
  Command,
  Commit,
  Count,
  Failure,
  Id,
  Micro,
  Ms,
  Role,
  Sha256,
  Spent,
  Text,
  Whole,
} from './field.ts';

/** Effects of unknown outcome that one line names. */
export const MAX_UNKNOWN = 100;

/** Runs that one line of removed files names. */
export const MAX_REMOVED = 1_000;

/** What is fixed before anything starts, and the way of a run through its steps. */
export const RUN_EVENTS = {
  'run.manifest': z
    .looseObject({
      spec: Whole.optional().describe('Of a run on a repository: task, base, policy, limits, agent, model, commands'),
      command: Arguments.optional().describe('Of a run of one command'),
      user: as('process.user.name', Id).optional(),
      limits: Whole.optional(),
      policy: Whole.optional(),
      sandbox: Whole.describe('Runtime, image and bounds of the sandbox'),
      origin: Whole.optional().describe(
        'Where it was asked for: delivery, thread, texts with their hashes and edit times',
      ),
      requester: z.strictObject({ login: Id, id: z.number().int() }).nullable().optional(),
      versions: Whole.describe('Cofferdam, runsc, Docker, git and Node'),
      image: Id.describe("The image's digest"),
      prices: z.strictObject({ date: Id, hash: Sha256 }).nullable(),
      operatorPolicy: Sha256.optional().describe("Of the operator's policy file"),
      repositoryFile: Sha256.optional().describe("Of the repository's own file"),
    })
    .describe('Everything that was frozen before the run began; first line of a run'),
  'run.step': z
    .strictObject({ step: Id, state: z.enum(['started', 'done', 'failed']), durationMs: Ms.optional() })
    .describe('A step began or ended'),
  'limit.reached': z
    .strictObject({ reason: EndReason })
    .describe('A limit, a person, or the end of the worker ended the work early'),
  'run.recover': z
    .strictObject({
      why: z.enum(['worker_lost', 'cancelled']),
      worker: Id.optional(),
      step: Id.optional(),
      containers: z.array(Id).describe('Ids of the sandboxes that were still there and were removed'),
      openReservations: Count.describe('Model calls whose end is not known: charged in full'),
      charged: Micro,
      unknown: z
        .array(z.strictObject({ line: Count, type: Id }))
        .max(MAX_UNKNOWN)
        .describe('Effects that were recorded before they happened and have no outcome: nobody knows whether they did'),
      unknownCount: Count.describe('How many those are, when not all are here'),
    })
    .describe('A run whose worker is gone was ended by another'),
  'run.end': z
    .strictObject({
      state: z.union([FinalState, z.literal('attacked')]),
      exitCode: as('process.exit.code', z.number().int()).optional(),
      reason: EndReason.nullable().optional(),
      usage: Spent.optional(),
      error: Failure.nullable().optional(),
    })
    .describe('The verdict'),
  'audit.resume': z
    .strictObject({ cutBytes: Count.describe('Bytes of a line that the writer before did not finish') })
    .describe('Another writer went on with the file'),
  'audit.removed': z
    .strictObject({
      runs: z.array(Id).max(MAX_REMOVED),
      count: Count.describe('How many those are, when not all are here'),
      bytes: Count,
    })
    .describe("Sealed audit files that were removed because of the operator's retention"),
  seal: z.looseObject({ syncWindowMs: Ms.describe('What a power cut may have taken') }).describe('The last line'),
  'worker.start': z.looseObject({ worker: Id, versions: Whole }).describe('A worker began its own log'),
};

/** What the host does with a sandbox. */
export const SANDBOX_EVENTS = {
  'sandbox.create': z
    .strictObject({
      role: Role,
      image: as('container.image.name', Id),
      runtime: as('container.runtime.name', Id),
    })
    .describe('A sandbox is about to be made'),
  'sandbox.self_test': z
    .strictObject({
      role: Role,
      ok: z.boolean(),
      checks: z.array(z.strictObject({ name: Text, ok: z.boolean(), observed: Text })),
    })
    .describe('What the sandbox observed of its own isolation, before the task'),
  'sandbox.ended': z
    .strictObject({ role: Role, reason: Id, message: Text })
    .describe('A sandbox ended without being asked to'),
  'sandbox.destroy': z
    .strictObject({ role: Role, container: as('container.id', Id) })
    .describe('A sandbox is about to be removed'),
  'sandbox.destroyed': z.strictObject({ role: Role, container: as('container.id', Id) }).describe('It is gone'),
};

const File = z.looseObject({
  path: as('file.path', Text),
  status: Id,
  additions: Count,
  deletions: Count,
});

/** How an effect on GitHub ended; `unknown` when the network failed and GitHub may have done it. */
const ended = {
  outcome: z.enum(['done', 'failed', 'unknown']),
  error: as('error.type', Id).optional().describe('The kind of failure'),
};

const asked = {
  labels: z.array(Id),
  reviewers: z.array(Id).describe('Logins'),
  teams: z.array(Id).describe('Slugs'),
};

/** From the tree in the sandbox to the pull request. */
export const RESULT_EVENTS = {
  'git.commit': z
    .strictObject({ tree: Commit, base: Commit, files: Count })
    .describe("The checkpoint: the hash of this line is in the commit's trailer"),
  'harvest.done': z
    .strictObject({
      commit: as('vcs.ref.head.revision', Commit),
      files: z.array(File),
      diffHash: Sha256.describe('Of the whole change'),
      patchCut: z.literal(true).optional().describe('The patch that was kept ends before the change does'),
    })
    .describe('The one commit, made by the host from what the sandbox left'),
  'verify.command': z
    .strictObject({
      command: Command,
      exitCode: as('process.exit.code', z.number().int()),
      durationMs: Ms,
      tail: Text,
    })
    .describe('A command of the verification, run by the host in a second fresh sandbox'),
  'git.push': z
    .strictObject({
      branch: as('vcs.ref.head.name', Id),
      commit: as('vcs.ref.head.revision', Commit),
      repository: as('vcs.repository.name', Id).optional(),
    })
    .describe('The commit is about to be pushed'),
  'git.push_end': z
    .strictObject({
      branch: as('vcs.ref.head.name', Id),
      commit: as('vcs.ref.head.revision', Commit),
      ...ended,
    })
    .describe('How the push ended'),
  'publish.authority': z
    .strictObject({ login: Id, requester: Id.optional() })
    .describe('Whether who asked (or approved) may still write'),
  'publish.pull': z
    .strictObject({ branch: as('vcs.ref.head.name', Id) })
    .describe('A pull request is about to be opened or changed'),
  'publish.pull_end': z
    .strictObject({ branch: as('vcs.ref.head.name', Id), ...ended })
    .describe('Whether the pull request is there'),
  'publish.check_run': z
    .strictObject({ commit: as('vcs.ref.head.revision', Commit), pull: as('vcs.change.id', Count) })
    .describe('A check run is about to be put on the commit'),
  'publish.check_run_end': z
    .strictObject({ commit: as('vcs.ref.head.revision', Commit), pull: as('vcs.change.id', Count), ...ended })
    .describe('Whether the check run is there'),
  'publish.ask': z
    .strictObject({ pull: as('vcs.change.id', Count), ...asked })
    .describe('A new pull request is about to get its labels and reviewers'),
  'publish.ask_end': z
    .strictObject({
      pull: as('vcs.change.id', Count),
      ...asked,
      refused: z
        .array(Id)
        .optional()
        .describe('Labels and names that GitHub did not take; the publication goes on without them'),
      ...ended,
    })
    .describe('Which labels and reviewers the pull request has'),
  'publish.patch': z
    .strictObject({
      commit: as('vcs.ref.head.revision', Commit),
      why: Id.describe("The class of GitHub's refusal"),
      pushed: z.boolean().describe('Whether the branch is there, without a pull request'),
    })
    .describe(
      'GitHub refused the publication of a result upon a fork for good: it is handed over as a patch in the comment',
    ),
  'publish.local': z
    .strictObject({ branch: Id.nullable(), commit: Commit, patchFile: as('file.path', Text) })
    .describe('A result for a local repository is about to be written'),
  'publish.held': z
    .strictObject({
      diffHash: Sha256,
      commit: Commit,
      files: z.array(Text),
      ci: z.array(z.looseObject({ file: Text, risk: Text })),
    })
    .describe('The result waits for a person'),
};
