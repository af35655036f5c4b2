/** What a worker starts for each run: the gateway on the real internet. */
import { becomeGateway } from './gateway-child.ts';

becomeGateway();
