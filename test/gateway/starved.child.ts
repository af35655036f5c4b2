/** A worker and its gateway with few file descriptors, which the gateway inherits: prints the socket, ends with its input. */
import { once } from 'node:events';
import { openGateway } from './process.ts';
import { policyOf } from './hermetic.ts';

const [dir = '', port = ''] = process.argv.slice(2);
const rule = { host: 'localhost', ports: [Number(port)], allowPrivate: true, passThrough: true };
const { gateway, socket } = await openGateway(dir, policyOf([rule]));
process.stdout.write(`${socket}\n`);
process.stdin.resume();
await once(process.stdin, 'end');
await gateway.close();
