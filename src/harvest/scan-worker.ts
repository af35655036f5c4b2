import { parentPort, workerData } from 'node:worker_threads';
import { createSecretScanner } from '../policy/redaction/scan.ts';
import { scanContent } from './scan-content.ts';

// The thread of `createScanThread`: one file in, its findings out, in order.
const scan = createSecretScanner(workerData as string[]);

parentPort?.on('message', (content: Uint8Array) => {
  parentPort?.postMessage(scanContent(Buffer.from(content.buffer, content.byteOffset, content.byteLength), scan));
});
