/** The hermetic internet as a gateway's resolver and dialer, through the socket that it listens on. */
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import type { Dial, Resolve } from '../gateway/dialer.ts';

/** What is asked on a connection, as one line of JSON. */
export type Question = { resolve: string } | { dial: string };
/** Somebody listens there: what follows on the connection is theirs. */
export const DIALLED = 'ok\n';

export function outsideAt(path: string): { resolve: Resolve; dial: Dial } {
  return {
    resolve: async (host) => {
      const socket = await ask(path, { resolve: host });
      socket.end();
      const answer = JSON.parse(await text(socket)) as { addresses?: string[]; code?: string };
      if (answer.addresses) return answer.addresses;
      throw Object.assign(new Error('no such name'), { code: answer.code });
    },
    dial: async ({ address, port }) => {
      const at = `${address}:${port}`;
      const socket = await ask(path, { dial: at });
      return new Promise((resolve, reject) => {
        const nobody = (): void => reject(new Error(`nothing listens on ${at}`));
        const look = (): void => {
          // The rest stays in the socket, whose flow is as new once nobody listens for readability.
          if (socket.read(DIALLED.length) === null) return;
          socket.off('readable', look).off('close', nobody).off('end', nobody);
          resolve(socket);
        };
        socket.on('readable', look).once('close', nobody).once('end', nobody);
      });
    },
  };
}

function ask(path: string, question: Question): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path, allowHalfOpen: true });
    socket.on('error', reject);
    socket.once('connect', () => {
      socket.write(`${JSON.stringify(question)}\n`);
      resolve(socket);
    });
  });
}
