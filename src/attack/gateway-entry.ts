/**
 * The gateway process of the battery: the product's own, on the hermetic internet at the socket that is its argument.
 * Only the battery starts it (test/architecture.test.ts).
 */
import { becomeGateway } from '../main/gateway-child.ts';
import { outsideAt } from './outside.ts';

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error('this is started by cofferdam attack');
becomeGateway(outsideAt(path));
