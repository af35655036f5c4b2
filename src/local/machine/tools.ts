import { access, copyFile, mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { debianArchives, hostRelease, sourceLines } from './sources.ts';
import type { ToolboxTools } from './toolbox-inputs.ts';
import { unpackPackages } from './unpack.ts';

/** Program of the toolbox, its Debian package, and where it lies in there. */
const TOOLS = [
  { name: 'busybox', from: 'busybox-static', file: 'bin/busybox' },
  { name: 'init', from: 'tini', file: 'usr/bin/tini-static' },
  { name: 'patchelf', from: 'patchelf', file: 'usr/bin/patchelf' },
] as const;

/**
 * The small programs that a toolbox is made of and with, unpacked from Debian's packages. They are not installed:
 * `busybox-static` would push a host's own busybox out. Errors: `docker_unavailable`.
 */
export async function ensureTools(directory: string, signal?: AbortSignal): Promise<ToolboxTools> {
  const at = (name: string) => path.join(directory, name);
  const tools: ToolboxTools = { busybox: at('busybox'), init: at('init'), patchelf: at('patchelf') };
  const present = await access(directory).then(
    () => true,
    () => false,
  );
  if (present) return tools;
  await mkdir(path.dirname(directory), { recursive: true });
  const work = await mkdtemp(`${directory}.new-`);
  try {
    const archives = await debianArchives(signal);
    const root = await unpackPackages({
      names: TOOLS.map((tool) => tool.from),
      sources: sourceLines(archives, hostRelease(archives), false),
      work,
      signal,
    });
    await mkdir(path.join(work, 'out'));
    for (const tool of TOOLS) await copyFile(path.join(root, tool.file), path.join(work, 'out', tool.name));
    await rename(path.join(work, 'out'), directory);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return tools;
}
