import { createHash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import { CofferdamError } from '../../domain/errors.ts';
import { TOOLBOX } from '../../sandbox/layout.ts';
import { bundledNode } from './image.ts';
import { mustRun } from './process.ts';

const SANDBOX = path.join(import.meta.dirname, '../../sandbox');

/** Where the manifests of the agents are: one directory with a lock file for each. */
export const MANIFESTS = path.join(SANDBOX, 'toolbox');
/** The code that runs as a sandbox's first process. */
export const PORTAL = path.join(SANDBOX, 'portal');

/** Everything that a toolbox is made from. */
export interface ToolboxInputs {
  node: { file: string; version: string };
  /** Static programs, and the one that gives Node its own loader. */
  tools: ToolboxTools;
  /** The dynamic loader and every library of Node, by the name under which they are looked up. */
  libraries: { name: string; file: string }[];
  loader: string;
  /** Files of the portal, relative to its directory; empty while it is not there. */
  portal: string[];
  agents: string[];
}

export interface ToolboxTools {
  busybox: string;
  /** A static init that reaps zombies. */
  init: string;
  patchelf: string;
}

/** Looks up what a toolbox with these agents is made from. Errors: `config`, `docker_unavailable`. */
export async function toolboxInputs(options: {
  agents: readonly string[];
  tools: ToolboxTools;
  signal?: AbortSignal | undefined;
}): Promise<ToolboxInputs> {
  const node = await bundledNode();
  return {
    node,
    tools: options.tools,
    ...(await librariesOf(node.file, options.signal)),
    portal: await filesUnder(PORTAL),
    agents: [...new Set(options.agents)].toSorted(),
  };
}

/** A name for exactly these inputs. */
export async function toolboxHash(inputs: ToolboxInputs): Promise<string> {
  const hash = createHash('sha256').update(`layout 4 ${TOOLBOX.mount} ${inputs.node.version} ${process.arch}\0`);
  const programs = [inputs.tools.busybox, inputs.tools.init, inputs.loader];
  for (const file of [...programs, ...inputs.libraries.map((library) => library.file)]) {
    hash.update(`${path.basename(file)}\0`).update(await readFile(file));
  }
  for (const name of inputs.portal) hash.update(`${name}\0`).update(await readFile(path.join(PORTAL, name)));
  for (const agent of inputs.agents) {
    hash.update(`${agent}\0`).update(await readFile(path.join(MANIFESTS, agent, 'package-lock.json')));
  }
  return hash.digest('hex').slice(0, 12);
}

/** What `ldd` says about a program of our own or of the distribution. */
export async function librariesOf(
  file: string,
  signal?: AbortSignal,
): Promise<Pick<ToolboxInputs, 'libraries' | 'loader'>> {
  const { stdout } = await mustRun(['ldd', file], { signal });
  return parseLdd(stdout);
}

/** `name => path` lines are libraries; the line with a bare path is the loader. */
export function parseLdd(text: string): Pick<ToolboxInputs, 'libraries' | 'loader'> {
  const libraries = [...text.matchAll(/^\s*(\S+) => (\/\S+) \(/gm)].flatMap(([, name, file]) =>
    name === undefined || file === undefined ? [] : [{ name, file }],
  );
  const loader = /^\s*(\/\S+) \(/m.exec(text)?.[1];
  if (loader === undefined) {
    throw new CofferdamError('docker_unavailable', 'local.parseLdd', `no dynamic loader in:\n${text}`);
  }
  return { libraries, loader };
}

async function filesUnder(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
  return files.map((file) => path.relative(directory, file)).toSorted();
}
