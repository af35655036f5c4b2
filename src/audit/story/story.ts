import type { AuditEvent } from '../../domain/audit.ts';
import { agentTaker, commandTaker, createActivity, SELF_TEST, type ActivityStory } from './activity.ts';
import { numberAt } from './field.ts';
import { createNetwork, type NetworkStory } from './network.ts';
import { modelTaker, networkTaker, otherTaker } from './occurrences.ts';
import { createOutline, type Outline } from './outline.ts';
import { createProcesses, type ProcessStory } from './processes.ts';
import { createSpending, type SpendingStory } from './spending.ts';
import { createSteps, type StepFact } from './steps.ts';

/** What a run did, as its events tell it. The parts are the story's own and grow with it: read them, do not change them. */
export interface RunStory {
  runId: string | undefined;
  events: number;
  startedAt: string | undefined;
  lastAt: string | undefined;
  /** Monotonic milliseconds of the newest event. */
  elapsedMs: number;
  outline: Outline;
  steps: StepFact[];
  activity: ActivityStory;
  network: NetworkStory;
  spending: SpendingStory;
  processes: ProcessStory;
  /** Events by type. */
  types: Map<string, number>;
}

export interface StoryTeller {
  take(event: AuditEvent): void;
  /** As far as it is told. */
  story(): RunStory;
}

const MAX_TYPES = 500;

/** Makes a story of events, one at a time and without looking back: what is kept of a run is bounded, however long it is. */
export function createStory(): StoryTeller {
  const { outline, take: outlineTake } = createOutline();
  const { steps, take: stepTake } = createSteps();
  const network = createNetwork();
  const spending = createSpending();
  const activity = createActivity();
  const processes = createProcesses();
  const takers = {
    agent: agentTaker(activity),
    command: commandTaker(activity),
    network: networkTaker(activity),
    model: modelTaker(activity),
    other: otherTaker(activity),
  };
  const types = new Map<string, number>();
  let probing = false;
  const base = { runId: undefined, startedAt: undefined, lastAt: undefined };
  const story: RunStory = {
    ...base,
    events: 0,
    elapsedMs: 0,
    outline,
    steps,
    activity: activity.story,
    network: network.story,
    spending: spending.story,
    processes: processes.story,
    types,
  };

  function dispatch(event: AuditEvent): void {
    const { type } = event;
    if (type === 'run.step') stepTake(event);
    else if (type === 'agent.end') return;
    else if (type.startsWith('agent.')) takers.agent(event);
    else if (type.startsWith('kernel.') || (type.startsWith('process.') && event.source === 'sandbox'))
      processes.take(event);
    else if (type === 'process.start' || type === 'process.exit') takers.command(event);
    else if (type.startsWith('llm.')) {
      spending.take(event);
      takers.model(event);
    } else if (type.startsWith('egress.') || type === 'git.request') {
      if (type !== 'git.request') network.take(event);
      takers.network(event, probing ? SELF_TEST : (steps.at(-1)?.name ?? ''));
    } else {
      if (type === 'sandbox.create') probing = true;
      if (type === 'sandbox.self_test') {
        probing = false;
        network.selfTest(event);
      }
      if (type === 'run.manifest') limits(event);
      takers.other(event);
    }
  }

  function limits({ data }: AuditEvent): void {
    const found = ['maxCost', 'maxTurns'].map(
      (name) => numberAt(data, 'spec', 'limits', name) ?? numberAt(data, 'limits', name),
    );
    [spending.story.cap, spending.story.maxTurns] = found;
  }

  return {
    take(event) {
      story.runId ??= event.runId;
      story.startedAt ??= event.at;
      story.lastAt = event.at;
      story.elapsedMs = Math.max(story.elapsedMs, event.mono);
      story.events += 1;
      // A forged file may have any number of them.
      if (types.has(event.type) || types.size < MAX_TYPES) types.set(event.type, (types.get(event.type) ?? 0) + 1);
      outlineTake(event);
      dispatch(event);
    },
    story: () => story,
  };
}
