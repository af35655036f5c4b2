import type { Api } from '../api.ts';
import type { PageServer } from '../server.ts';

export function createPages(_api: Api): PageServer {
  return ({ response }) => {
    response.writeHead(404, { 'content-type': 'text/plain' }).end('not found\n');
    return Promise.resolve();
  };
}
