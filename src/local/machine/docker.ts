import Docker from 'dockerode';
import { z } from 'zod';
import { CofferdamError } from '../../domain/errors.ts';

/** A client for a Unix socket. Set-up calls wait long (a build), so each call brings its own limit where it needs one. */
export function dockerAt(socketPath: string): Docker {
  return new Docker({ socketPath });
}

/** The socket path of a `unix://` address; undefined for anything else, which a sandbox host cannot be. */
export function socketOf(dockerHost: string): string | undefined {
  return dockerHost.startsWith('unix://') ? dockerHost.slice('unix://'.length) : undefined;
}

const ProgressLine = z.object({ stream: z.string(), error: z.string(), status: z.string() }).partial();

/**
 * Waits for a build, an import or a pull. These answer 200 and report failure inside the stream.
 * Errors: `docker_unavailable` with the last lines of output.
 */
export function followToEnd(
  docker: Docker,
  stream: NodeJS.ReadableStream,
  op: string,
  onLine: (line: string) => void,
): Promise<void> {
  const tail: string[] = [];
  return new Promise((resolve, reject) => {
    const fail = (message: string, cause?: unknown) =>
      reject(new CofferdamError('docker_unavailable', op, `${message}\n${tail.slice(-12).join('\n')}`.trim(), cause));
    docker.modem.followProgress(
      stream,
      (error: Error | null) => {
        if (error === null) resolve();
        else fail(error.message, error);
      },
      (raw: unknown) => {
        const event = ProgressLine.safeParse(raw);
        if (!event.success) return;
        const { stream: text = '', error } = event.data;
        for (const line of text.split(/[\r\n]+/).filter((part) => part.trim() !== '')) {
          tail.push(line);
          onLine(line);
        }
        if (error !== undefined) fail(error);
      },
    );
  });
}

/** The id of an image by tag; undefined when the daemon does not have it. */
export async function imageId(docker: Docker, ref: string): Promise<string | undefined> {
  const images = await docker.listImages({ filters: { reference: [ref] } });
  return images[0]?.Id;
}
