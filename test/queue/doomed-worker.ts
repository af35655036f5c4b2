import { openRedis } from '../../src/queue/connection.ts';
import { createRunRecords } from '../../src/queue/records.ts';
import { startRunWorker } from '../../src/queue/run-worker.ts';
import { createRunQueue } from '../../src/queue/runs.ts';
import { createLogger } from '../../src/telemetry/log.ts';

/** A worker that begins a run and waits to be killed. */
const [, , socket = '', prefix = ''] = process.argv;
const redis = await openRedis(socket);
const records = createRunRecords({ redis, prefix });
const queue = createRunQueue({ redis, prefix, records, installation: 'i', log: createLogger({ level: 'silent' }) });
await startRunWorker({
  queue,
  worker: 'doomed',
  concurrency: 1,
  heartbeatMs: 200,
  execute: ({ runId }) => {
    process.send?.({ begun: runId });
    return new Promise(() => undefined);
  },
  finalise: () => Promise.resolve('failed'),
});
