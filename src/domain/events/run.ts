import { z } from 'zod';
import { EndReason, FinalState } from '../run.ts';
import { as, Commit, Count, Failure, Micro, Ms, Role, Sha256, Spent, Why } from './field.ts';

/** Effects of unknown outcome that one line names. */
export const MAX_UNKNOWN = 100;

/** Runs that one line of removed files names. */
export const MAX_REMOVED = 1_000;

const Unknown = z.record(z.string(), z.unknown());

/** What is fixed before anything starts, and the way of a run through its steps. */
export const RUN_EVENTS = {
  'run.manifest': z
    .looseObject({
      spec: Unknown.optional().describe('Of a run on a repository: task, base, policy, limits, agent, model, commands'),
      command: as('process.command_args', z.array(z.string())).optional().describe('Of a run of one command'),
      user: as('process.user.name', z.string()).optional(),
      limits: Unknown.optional(),
      policy: Unknown.optional(),
      sandbox: Unknown.describe('Runtime, image and bounds of the sandbox'),
      origin: Unknown.optional().describe(
        'Where it was asked for: delivery, thread, texts with their hashes and edit times',
      ),
      requester: z.strictObject({ login: z.string(), id: z.number().int() }).nullable().optional(),
      versions: Unknown.describe('runsc, Docker, git and Node'),
      image: z.string().describe("The image's digest"),
      prices: z.strictObject({ date: z.string(), hash: Sha256 }).nullable(),
      operatorPolicy: Sha256.optional().describe("Of the operator's policy file"),
      repositoryFile: Sha256.optional().describe("Of the repository's own file"),
    })
    .describe('Everything that was frozen before the run began; first line of a run'),
  'run.step': z
    .strictObject({ step: z.string(), state: z.enum(['started', 'done', 'failed']), durationMs: Ms.optional() })
    .describe('A step began or ended'),
  'limit.reached': z.strictObject({ reason: EndReason }).describe('A limit, or a person, ended the work early'),
  'run.recover': z
    .strictObject({
      why: z.enum(['worker_lost', 'cancelled']),
      worker: z.string().optional(),
      step: z.string().optional(),
      containers: z.array(z.string()).describe('Ids of the sandboxes that were still there and were removed'),
      openReservations: Count.describe('Model calls whose end is not known: charged in full'),
      charged: Micro,
      unknown: z
        .array(z.strictObject({ line: Count, type: z.string() }))
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
      runs: z.array(z.string()).max(MAX_REMOVED),
      count: Count.describe('How many those are, when not all are here'),
      bytes: Count,
    })
    .describe("Sealed audit files that were removed because of the operator's retention"),
  seal: z.looseObject({ syncWindowMs: Ms.describe('What a power cut may have taken') }).describe('The last line'),
  'worker.start': z.looseObject({ worker: z.string(), versions: Unknown }).describe('A worker began its own log'),
};

/** What the host does with a sandbox. */
export const SANDBOX_EVENTS = {
  'sandbox.create': z
    .strictObject({
      role: Role,
      image: as('container.image.name', z.string()),
      runtime: as('container.runtime.name', z.string()),
    })
    .describe('A sandbox is about to be made'),
  'sandbox.self_test': z
    .strictObject({
      role: Role,
      ok: z.boolean(),
      checks: z.array(z.strictObject({ name: z.string(), ok: z.boolean(), observed: z.string() })),
    })
    .describe('What the sandbox observed of its own isolation, before the task'),
  'sandbox.ended': z
    .strictObject({ role: Role, reason: z.string(), message: Why })
    .describe('A sandbox ended without being asked to'),
  'sandbox.destroy': z
    .strictObject({ role: Role, container: as('container.id', z.string()) })
    .describe('A sandbox is about to be removed'),
  'sandbox.destroyed': z.strictObject({ role: Role, container: as('container.id', z.string()) }).describe('It is gone'),
};

const File = z.looseObject({
  path: as('file.path', z.string()),
  status: z.string(),
  additions: Count,
  deletions: Count,
});

/** From the tree in the sandbox to the pull request. */
export const RESULT_EVENTS = {
  'git.commit': z
    .strictObject({ tree: Commit, base: Commit, files: Count })
    .describe("The checkpoint: the hash of this line is in the commit's trailer"),
  'harvest.done': z
    .strictObject({ commit: as('vcs.ref.head.revision', Commit), files: z.array(File), diffHash: Sha256 })
    .describe('The one commit, made by the host from what the sandbox left'),
  'verify.command': z
    .strictObject({
      command: z.string(),
      exitCode: as('process.exit.code', z.number().int()),
      durationMs: Ms,
      tail: z.string(),
    })
    .describe('A command of the verification, run by the host in a second fresh sandbox'),
  'git.push': z
    .strictObject({
      branch: as('vcs.ref.head.name', z.string()),
      commit: as('vcs.ref.head.revision', Commit),
      repository: as('vcs.repository.name', z.string()).optional(),
    })
    .describe('The commit is about to be pushed'),
  'publish.authority': z
    .strictObject({ login: z.string(), requester: z.string().optional() })
    .describe('Whether who asked (or approved) may still write'),
  'publish.pull': z
    .strictObject({ branch: as('vcs.ref.head.name', z.string()) })
    .describe('A pull request is about to be opened or changed'),
  'publish.check_run': z
    .strictObject({ commit: as('vcs.ref.head.revision', Commit), pull: as('vcs.change.id', Count) })
    .describe('A check run is about to be put on the commit'),
  'publish.local': z
    .strictObject({ branch: z.string().nullable(), commit: Commit, patchFile: as('file.path', z.string()) })
    .describe('A result for a local repository is about to be written'),
  'publish.held': z
    .strictObject({
      diffHash: Sha256,
      commit: Commit,
      files: z.array(z.string()),
      ci: z.array(z.looseObject({ file: z.string(), risk: z.string() })),
    })
    .describe('The result waits for a person'),
};
