import { describeReading, type Reading } from '../../audit/read.ts';
import type { RunStory } from '../../audit/story/story.ts';
import type { RunId } from '../../domain/ids.ts';
import type { RunRecord } from '../../run/ports.ts';
import type { ActivityFilter } from './filter.ts';

/** All that a run's page shows, at one moment. */
export interface RunView {
  runId: RunId;
  /** Undefined while the run has not begun. */
  story: RunStory | undefined;
  reading: Reading | undefined;
  record: RunRecord | null;
  /** Runs that begin before it, while it waits. */
  ahead: number | undefined;
  /** Nothing more will be written. */
  over: boolean;
  seal: string | null;
  patch: string | null;
  filter: ActivityFilter;
  /** `https://github.com` and its kin: the only origin that links lead to. */
  githubOrigin: string;
  /** First word of a command on GitHub. */
  prefix: string;
}

/** The run's state: how it ended, or what the queue knows, or that it goes on. */
export function stateOf(view: RunView): string {
  const ended = view.story?.outline.outcome?.state;
  // The record of the run ended when it was held; what became of it then is known to the queue.
  if (ended === 'held' && view.record !== null && view.record.state !== 'running') return view.record.state;
  return ended ?? view.record?.state ?? 'running';
}

export function titleOf(view: RunView): string {
  const { story, record, runId } = view;
  const manifest = story?.outline.manifest;
  const command = manifest?.command ?? [];
  return manifest?.title ?? record?.request.source.title ?? (command.length > 0 ? command.join(' ') : `Run ${runId}`);
}

export function repositoryOf(view: RunView): string | undefined {
  const repo = view.record?.request.repo;
  return repo === undefined ? view.story?.outline.manifest?.repository : `${repo.owner}/${repo.name}`;
}

/** The step that is under way, or was last. */
export function currentStep(view: RunView): string {
  const steps = view.story?.steps ?? [];
  const running = steps.findLast((step) => step.state === 'running');
  return (running ?? steps.at(-1))?.name ?? view.record?.step ?? '';
}

/** Is the record, as far as it is here, not as it was written? What a live stream no longer holds is no damage. */
export function damaged({ reading, over, seal }: RunView): boolean {
  if (reading === undefined) return false;
  const all = { ...reading, lines: reading.lines + reading.skipped, skipped: 0 };
  return describeReading(all, over, seal).length > 0;
}
