import { resolveTarget } from './path.ts';

const MAX_ALIASES = 64;
const MAX_HOPS = 4;

/** Link → where it leads, both paths of the tree; links that lead out of it are left out. */
export type ResolvedLinks = ReadonlyMap<string, string>;

export function resolveLinks(links: ReadonlyMap<string, string>): ResolvedLinks {
  const resolved = new Map<string, string>();
  for (const [link, target] of links) {
    const to = resolveTarget(link, target);
    if (to !== undefined) resolved.set(link, to);
  }
  return resolved;
}

/**
 * The other names under which a path can be reached through symlinks of the tree. A file behind a link to or from a
 * protected place is as protected as the place.
 */
export function aliasesOf(path: string, links: ResolvedLinks): string[] {
  const found = new Set<string>();
  let frontier = [path];
  for (let hop = 0; hop < MAX_HOPS && frontier.length > 0; hop++) {
    const next = frontier
      .flatMap((one) => namesThrough(one, links))
      .filter((alias) => !found.has(alias) && alias !== path);
    frontier = [...new Set(next)].slice(0, MAX_ALIASES - found.size);
    for (const alias of frontier) found.add(alias);
  }
  return [...found];
}

function namesThrough(path: string, links: ResolvedLinks): string[] {
  const names: string[] = [];
  for (const [link, to] of links) {
    if (to === path) names.push(link);
    else if (to === '' || path.startsWith(`${to}/`)) names.push(`${link}/${path.slice(to === '' ? 0 : to.length + 1)}`);
  }
  return names;
}
