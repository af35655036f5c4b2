import { setTimeout as sleep } from 'node:timers/promises';
import { runId } from '../../src/domain/ids.ts';
import { RUNS, WORKERS } from './llm-schedule.ts';
import type { Reply } from '../../src/local/provider/script.ts';
import type { Schedule, Step } from './llm-schedule.ts';
import { ask, limitsOf } from './llm-world.ts';
import type { Scene, Worker, WorldRun } from './llm-world.ts';

interface Stage {
  schedule: Schedule;
  scene: Scene;
  runs: WorldRun[];
  workers: Worker[];
  /** Taken for dead, and still at work. */
  stalled: Worker[];
  /** Which worker has a run; undefined while none has. */
  homes: (number | undefined)[];
  /** Runs that were counted up by a sweeper or after their gateway's end. */
  swept: Set<string>;
  calls: Promise<void>[];
  hire: () => Promise<Worker>;
}

export interface Played {
  runs: WorldRun[];
  /** Runs whose open calls were counted as spent at some time, so that a later settlement changed nothing. */
  swept: Set<string>;
}

/** Plays one schedule to its end, when every call is over and every worker gone. */
export async function play(
  schedule: Schedule,
  options: { scene: Scene; hire: () => Promise<Worker> },
): Promise<Played> {
  const { scene, hire } = options;
  const runs = Array.from({ length: RUNS }, (_unused, index) => ({
    id: runId(crypto.getRandomValues(new Uint8Array(12))),
    repository: index < 2 ? 'o/a' : 'o/b',
  }));
  const workers = await Promise.all(Array.from({ length: WORKERS }, hire));
  const homes = runs.map(() => undefined);
  const stage: Stage = { schedule, scene, runs, workers, stalled: [], homes, swept: new Set(), calls: [], hire };
  await rescue(stage);
  for (const [index, step] of schedule.steps.entries()) await take(stage, step, index);
  await Promise.all(stage.calls);
  await Promise.all([...stage.workers, ...stage.stalled].map((worker) => worker.close()));
  await sweepAll(stage);
  return { runs, swept: stage.swept };
}

async function take(stage: Stage, step: Step, index: number): Promise<void> {
  const { scene, runs, workers, homes } = stage;
  // A run without a worker asks nothing: somebody takes it over first.
  if (step.do === 'call' && homes[step.run] === undefined) await rescue(stage);
  const home = 'run' in step ? homes[step.run] : undefined;
  const worker = home === undefined ? undefined : workers[home];
  const run = 'run' in step ? (runs[step.run]?.id ?? '') : '';
  switch (step.do) {
    case 'call': {
      const door = worker?.door(run);
      if (door === undefined) return;
      const model = `${scene.prefix}${index}`;
      scene.oracle.replies.set(model, possible(step));
      stage.calls.push(ask({ ...step, door, model }));
      return;
    }
    case 'wait':
      await Promise.all(stage.calls.splice(0));
      return;
    case 'pause':
      await sleep(step.ms);
      return;
    case 'crash':
      await crash(stage, step.worker, step.kind);
      return;
    case 'crashGateway':
      if (home === undefined) return;
      homes[step.run] = undefined;
      stage.swept.add(run);
      await worker?.crashGateway(run);
      return;
    case 'rescue':
      await rescue(stage);
      return;
    case 'closeModel':
      await worker?.closeModel(run);
      return;
    case 'dropRedis':
      await workers[step.worker]?.dropRedis();
      return;
    case 'clock':
      scene.day = step.day;
      return;
    case 'provider':
      scene.providerUp = step.up;
      return;
    case 'auditFails':
      scene.auditFails = true;
  }
}

/** Only Anthropic has a price for writing a cache, and charges it only where the request asks for a write. */
function possible({ wire, cache, reply }: Step & { do: 'call' }): Reply {
  if (reply.usage === undefined) return reply;
  const { cacheWrite = 0, ...usage } = reply.usage;
  if (wire !== 'anthropic' || cache === 'none') return { ...reply, usage };
  return { ...reply, usage: { ...usage, ...(cache === '1h' ? { cacheWrite1h: cacheWrite } : { cacheWrite }) } };
}

async function crash(stage: Stage, index: number, kind: 'kill' | 'stall'): Promise<void> {
  const worker = stage.workers[index];
  if (worker === undefined) return;
  for (const [run, home] of stage.homes.entries()) if (home === index) stage.homes[run] = undefined;
  if (kind === 'stall') stage.stalled.push(worker);
  else await worker.crash();
  stage.workers[index] = await stage.hire();
}

/** As the sweeper of a living worker does: what a dead one left open is counted as spent before anything new is asked. */
async function rescue({ schedule, runs, workers, homes, swept }: Stage): Promise<void> {
  for (const [index, run] of runs.entries()) {
    if (homes[index] !== undefined) continue;
    const home = (index + swept.size) % WORKERS;
    const worker = workers[home];
    if (worker === undefined) continue;
    swept.add(run.id);
    await worker.recover(run.id);
    await worker.open(run, limitsOf(schedule));
    homes[index] = home;
  }
}

async function sweepAll({ runs, swept, hire }: Stage): Promise<void> {
  const sweeper = await hire();
  for (const { id } of runs) {
    await sweeper.recover(id);
    swept.add(id);
  }
  await sweeper.close();
}
