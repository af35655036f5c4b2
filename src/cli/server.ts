import { once } from 'node:events';
import { requireSettings, type Environment } from '../config/environment.ts';
import { loadPolicy } from '../config/policy-file.ts';
import { serverPages } from '../main/run-pages.ts';
import { startServer } from '../main/server.ts';
import { QUEUE_PREFIX } from '../main/worker.ts';
import { openRedis, within } from '../queue/connection.ts';
import { createTriggerQueue } from '../queue/triggers.ts';
import { createLogger } from '../telemetry/log.ts';

/** `cofferdam server`: takes webhooks until it is stopped. */
export async function serverCommand(options: { environment: Environment; signal: AbortSignal }): Promise<number> {
  const environment = requireSettings(options.environment, ['WEBHOOK_SECRET', 'COFFERDAM_POLICY', 'REDIS_URL']);
  const log = createLogger({ level: environment.logLevel }).child({ process: 'server' });
  const { policy } = await loadPolicy(environment.policyFile, environment.github);
  await using undo = new AsyncDisposableStack();
  const redis = await openRedis(environment.redisUrl);
  undo.defer(() => redis.disconnect());
  const triggers = createTriggerQueue({ redis, prefix: QUEUE_PREFIX, log });
  undo.defer(() => triggers.close());
  const server = undo.use(
    await startServer({
      host: environment.host,
      port: environment.port,
      webhookSecret: environment.webhookSecret,
      prefix: policy.prefix,
      label: policy.label,
      sink: triggers,
      pages: await serverPages({ environment, redis, prefix: policy.prefix, log, undo }),
      healthy: () => within(redis.ping(), 2_000).then(() => true),
      log,
    }),
  );
  log.info({ url: server.url, webhooks: `${server.url}/api/github/webhooks` }, 'server listens');
  if (!options.signal.aborted) await once(options.signal, 'abort');
  log.info('server stops');
  return 0;
}
