import {
  access,
  chmod,
  copyFile,
  cp,
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { createHash } from 'node:crypto';
import path from 'node:path';
import { CofferdamError } from '../../domain/errors.ts';
import { TOOLBOX } from '../../sandbox/layout.ts';
import { installLocked } from './npm.ts';
import { mustRun } from './process.ts';
import type { Note } from './progress.ts';
import { MANIFESTS, PORTAL, toolboxHash, toolboxInputs } from './toolbox-inputs.ts';
import type { ToolboxInputs } from './toolbox-inputs.ts';
import { allOrNone } from './together.ts';
import { ensureTools } from './tools.ts';

/*
 * The toolbox is one read-only directory with all that a sandbox needs and an image may lack (`sandbox/layout.ts` names the parts):
 *
 *   bin/node                         with its interpreter and library path set to the toolbox's own, so no library of an image is used
 *   bin/init, bin/busybox            static
 *   lib/                             loader and libraries of bin/node
 *   portal/                          the first process of every sandbox
 *   agents/bin/<program>             the agents that were asked for
 *
 * Large parts are kept once and linked into each toolbox, so a changed portal costs no disk.
 */

export const TOOLBOX_AGENTS = ['opencode', 'codex'] as const;
export type ToolboxAgent = (typeof TOOLBOX_AGENTS)[number];

/** One program under `agents/bin`. */
interface AgentProgram {
  name: string;
  /** Path of an executable inside the agent's node_modules, or a script for `sh`. */
  link?: string;
  script?: string;
}

const codexBinary: Record<string, string> = {
  x64: '@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex',
  arm64: '@openai/codex-linux-arm64/vendor/aarch64-unknown-linux-musl/bin/codex',
};

/** The programs of an agent on this processor. Errors: `config` when it has no build for it. */
function programsOf(agent: ToolboxAgent): AgentProgram[] {
  if (agent === 'opencode' && process.arch === 'x64') {
    return [{ name: 'opencode', link: 'opencode-linux-x64/bin/opencode' }];
  }
  const codex = codexBinary[process.arch];
  if (agent === 'codex' && codex !== undefined) {
    const modules = `${TOOLBOX.mount}/agents/codex/node_modules`;
    // Without the variable the adapter runs codex through one more Node process.
    const script = [
      `#!${TOOLBOX.busybox} sh`,
      `export CODEX_PATH="\${CODEX_PATH:-${modules}/${codex}}"`,
      `exec ${TOOLBOX.mount}/bin/node ${modules}/@agentclientprotocol/codex-acp/dist/index.js "$@"`,
      '',
    ].join('\n');
    return [
      { name: 'codex-acp', script },
      { name: 'codex', link: codex },
    ];
  }
  throw new CofferdamError(
    'config',
    'local.programsOf',
    `the agent ${agent} has no build for ${process.arch} processors`,
  );
}

interface ToolboxParts {
  inputs: ToolboxInputs;
  /** Directory with the patched Node. */
  node: string;
  /** Directory of each agent. */
  agents: ReadonlyMap<ToolboxAgent, string>;
}

/**
 * Fetches and makes the large parts of toolboxes under `<root>/parts`, as far as they are not there. Also done while the
 * product's image is built, so that a container needs no package archive for them.
 */
export async function ensureParts(options: {
  root: string;
  agents: readonly ToolboxAgent[];
  note: Note;
  signal?: AbortSignal | undefined;
}): Promise<ToolboxParts> {
  const { note, signal } = options;
  const parts = path.join(options.root, 'parts');
  await mkdir(parts, { recursive: true });
  const tools = await ensureTools(path.join(parts, `tools-${process.arch}`), signal);
  const inputs = await toolboxInputs({ agents: options.agents, tools, signal });
  const node = await ensurePart(
    path.join(parts, `node-${inputs.node.version}-${process.arch}${TOOLBOX.mount.replaceAll('/', '-')}`),
    async (staging) => {
      await copyFile(inputs.node.file, path.join(staging, 'node'));
      await patchNode({ file: path.join(staging, 'node'), inputs, signal });
    },
  );
  const fetched = await allOrNone<(readonly [ToolboxAgent, string])[]>(
    options.agents.map((agent) => async (either: AbortSignal) => {
      const directory = path.join(parts, await partName(agent));
      const fetch = async (staging: string): Promise<void> => {
        note(`fetching the agent ${agent}`);
        await installLocked({ manifest: path.join(MANIFESTS, agent), target: staging, signal: either });
      };
      return [agent, await ensurePart(directory, fetch)] as const;
    }),
    signal,
  );
  return { inputs, node, agents: new Map(fetched) };
}

/** Takes over parts that were made elsewhere, such as in the product's image. */
async function copyParts(from: string, root: string): Promise<void> {
  const parts = path.join(root, 'parts');
  await mkdir(parts, { recursive: true });
  for (const name of await readdir(path.join(from, 'parts'))) {
    const source = path.join(from, 'parts', name);
    await ensurePart(path.join(parts, name), (staging) =>
      cp(source, staging, { recursive: true, verbatimSymlinks: true }),
    );
  }
}

/**
 * Provides a toolbox with these agents and returns its directory, `<root>/<hash of its inputs>`. A finished one is used again.
 * The caller holds the machine's lock. Errors: `config`, `docker_unavailable` (the package registry's error is in the message).
 */
export async function ensureToolbox(options: {
  root: string;
  agents: readonly ToolboxAgent[];
  /** A directory with ready parts. */
  partsFrom?: string | undefined;
  note: Note;
  signal?: AbortSignal | undefined;
}): Promise<{ directory: string; built: boolean }> {
  const { root, partsFrom } = options;
  if (partsFrom !== undefined) await copyParts(partsFrom, root);
  const parts = await ensureParts(options);
  const directory = path.join(root, await toolboxHash(parts.inputs));
  if (await exists(directory)) {
    await utimes(directory, new Date(), new Date());
    return { directory, built: false };
  }
  await removeUnused(root);
  await ensurePart(directory, (staging) =>
    assemble({ staging, inputs: parts.inputs, node: parts.node, agentParts: parts.agents }),
  );
  return { directory, built: true };
}

/** How long a toolbox that nobody asked for is kept; no sandbox lives that long. */
const UNUSED_MS = 7 * 24 * 3600 * 1000;

/** Removes toolboxes of earlier inputs, and what a set-up that was killed left. Parts stay: they are shared. */
async function removeUnused(root: string): Promise<void> {
  for (const directory of [root, path.join(root, 'parts')]) {
    for (const name of await readdir(directory).catch(() => [])) {
      const entry = path.join(directory, name);
      const unused = directory === root && name !== 'parts' && Date.now() - (await stat(entry)).mtimeMs > UNUSED_MS;
      if (unused || name.includes('.new-')) await rm(entry, { recursive: true, force: true });
    }
  }
}

/**
 * Makes a copy of Node start with the toolbox's loader and libraries. `DT_RPATH` instead of `DT_RUNPATH`, since only the
 * former holds for what the libraries load in turn.
 */
async function patchNode(options: {
  file: string;
  inputs: ToolboxInputs;
  signal: AbortSignal | undefined;
}): Promise<void> {
  const { file, inputs, signal } = options;
  const interpreter = `${TOOLBOX.mount}/lib/${path.basename(inputs.loader)}`;
  const { patchelf } = inputs.tools;
  await mustRun([patchelf, '--set-interpreter', interpreter, '--force-rpath', '--set-rpath', '$ORIGIN/../lib', file], {
    signal,
  });
}

/** Fills a directory beside its final place and renames it, so that a part is there whole or not at all. */
async function ensurePart(directory: string, fill: (staging: string) => Promise<void>): Promise<string> {
  if (await exists(directory)) return directory;
  const staging = await mkdtemp(path.join(path.dirname(directory), '.new-'));
  try {
    await fill(staging);
    await mustRun(['chmod', '-R', 'a+rX,go-w,a-s', staging]);
    // gVisor empties a file that its owner may write when it is opened with O_TRUNC, before it sees that the mount is
    // read-only: what is mounted may be writable for nobody. Directories stay, to be removed one day.
    await mustRun(['find', staging, '-type', 'f', '-exec', 'chmod', 'a-w', '{}', '+']);
    await chmod(staging, 0o755);
    await rename(staging, directory);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
  return directory;
}

/** A part's name changes with the agent's lock file only. */
async function partName(agent: ToolboxAgent): Promise<string> {
  const lock = await readFile(path.join(MANIFESTS, agent, 'package-lock.json'));
  return `${agent}-${process.arch}-${createHash('sha256').update(lock).digest('hex').slice(0, 12)}`;
}

/**
 * The loader, without the file by which an image could put a library of its own into every process: its name is replaced
 * by one below the mount point, where nothing can be written. Errors: `internal` when the loader does not hold the name.
 */
export function withoutPreload(loader: Buffer): Buffer {
  const name = Buffer.from('/etc/ld.so.preload\0');
  const absent = Buffer.from(`${TOOLBOX.mount}/nil\0`);
  const at = loader.indexOf(name);
  if (at < 0 || absent.length !== name.length || loader.indexOf(name, at + 1) >= 0) {
    throw new CofferdamError(
      'internal',
      'local.withoutPreload',
      'this libc’s loader does not hold /etc/ld.so.preload once',
    );
  }
  const changed = Buffer.from(loader);
  absent.copy(changed, at);
  return changed;
}

async function assemble(options: {
  staging: string;
  inputs: ToolboxInputs;
  node: string;
  agentParts: ReadonlyMap<ToolboxAgent, string>;
}): Promise<void> {
  const { staging, inputs, node, agentParts } = options;
  const at = (...parts: string[]) => path.join(staging, ...parts);
  for (const name of ['bin', 'lib', 'agents/bin']) await mkdir(at(name), { recursive: true });
  const loader = path.basename(inputs.loader);
  await writeFile(at('lib', loader), withoutPreload(await readFile(inputs.loader)), { mode: 0o755 });
  for (const library of inputs.libraries) await copyFile(library.file, at('lib', library.name));
  await link(path.join(node, 'node'), at('bin/node'));
  await copyFile(inputs.tools.init, at('bin/init'));
  await copyFile(inputs.tools.busybox, at('bin/busybox'));
  for (const name of inputs.portal) {
    await mkdir(path.dirname(at('portal', name)), { recursive: true });
    await copyFile(path.join(PORTAL, name), at('portal', name));
  }
  await writeFile(at('package.json'), '{ "type": "module", "private": true }\n');
  for (const [agent, part] of agentParts) {
    await linkTree(path.join(part, 'node_modules'), at('agents', agent, 'node_modules'));
    for (const program of programsOf(agent)) {
      const file = at('agents/bin', program.name);
      if (program.link !== undefined) await symlink(path.join('..', agent, 'node_modules', program.link), file);
      if (program.script !== undefined) await writeFile(file, program.script, { mode: 0o755 });
    }
  }
}

/** A copy of a directory whose files are hard links. */
async function linkTree(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [path.join(from, entry.name), path.join(to, entry.name)];
    if (entry.isDirectory()) await linkTree(source, target);
    else if (entry.isFile()) await link(source, target);
    else await cp(source, target, { verbatimSymlinks: true });
  }
}

async function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
