import { once } from 'node:events';
import { TOOLBOX_AGENTS } from '../local/machine/toolbox.ts';
import { requireSettings, type Environment } from '../config/environment.ts';
import { loadPolicy } from '../config/policy-file.ts';
import type { RunId } from '../domain/ids.ts';
import { openHost, prepareHost } from '../main/host.ts';
import { QUEUE_PREFIX, startWorker } from '../main/worker.ts';
import { openRedis } from '../queue/connection.ts';
import { createRunEvents } from '../queue/events.ts';
import { createRedisLedger } from '../queue/redis-ledger.ts';
import { createLogger } from '../telemetry/log.ts';
import { machineProgress } from './progress.ts';

/** `cofferdam worker`: does what was asked for until it is stopped; runs that are going on then deliver what they have. */
export async function workerCommand(options: { environment: Environment; signal: AbortSignal }): Promise<number> {
  const { signal } = options;
  const environment = requireSettings(options.environment, ['APP_ID', 'PRIVATE_KEY', 'COFFERDAM_POLICY', 'REDIS_URL']);
  const log = createLogger({ level: environment.logLevel }).child({ process: 'worker' });
  const policy = await loadPolicy(environment.policyFile, environment.github);
  await using undo = new AsyncDisposableStack();
  const redis = await openRedis(environment.redisUrl);
  undo.defer(() => redis.disconnect());
  const machine = await prepareHost({
    environment,
    policy,
    agents: TOOLBOX_AGENTS,
    onProgress: machineProgress(),
    signal,
  });
  const ledger = createRedisLedger({ redis });
  const events = createRunEvents({ redis, prefix: QUEUE_PREFIX, log });
  const onAuditLine = (runId: RunId, line: string): void => events.publish(runId, line);
  const host = undo.use(await openHost({ environment, policy, machine, ledger, onAuditLine, log }));
  undo.use(await startWorker({ environment, policy, host, redis, ledger, events, log }));
  if (!signal.aborted) await once(signal, 'abort');
  log.info('worker stops: running work is delivered as it is');
  return 0;
}
