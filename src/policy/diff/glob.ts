/** A path pattern, compiled. `*` and `?` stay within a name, `**` crosses names, `{a,b}` is either; case is ignored. */
export interface Glob {
  /** Lower-case segments; `**` stands alone. */
  readonly alternatives: readonly (readonly string[])[];
  /** `path`: from the root, or a directory above; `name`: any name of the path; `file`: its last name. */
  readonly scope: 'path' | 'name' | 'file';
}

const MAX_ALTERNATIVES = 64;

/**
 * Compiles a pattern. With a slash inside it is about the path from the root; without one about a name anywhere, of a file
 * or a directory. With `files`, such a name is that of a file unless the pattern ends with a slash.
 * Errors: RangeError for one that is empty or has too many alternatives.
 */
export function compileGlob(pattern: string, options: { files?: boolean } = {}): Glob {
  const trimmed = pattern.toLowerCase().replace(/\/+$/, '');
  const scope = trimmed.includes('/') ? 'path' : options.files === true && !pattern.endsWith('/') ? 'file' : 'name';
  const expanded = expandBraces(trimmed.replace(/^\/+/, ''));
  if (trimmed === '' || expanded.length > MAX_ALTERNATIVES) throw new RangeError(`not a usable pattern: ${pattern}`);
  return { alternatives: expanded.map((one) => one.split('/')), scope };
}

/**
 * Does the pattern name this path, or a directory above it? `infra`, `infra/` and `infra/**` all cover `infra/a.tf`.
 * Preconditions: `path` is in canonical form.
 */
export function globMatches(glob: Glob, path: string): boolean {
  const names = path.split('/');
  return glob.alternatives.some((segments) => {
    if (glob.scope === 'file') return matchName(segments[0] ?? '', names.at(-1) ?? '');
    if (glob.scope === 'name') return names.some((name) => matchName(segments[0] ?? '', name));
    return names.some((_, index) => matchSegments(segments, names.slice(0, index + 1)));
  });
}

/** Could something below the directory `path` match? Only patterns that name their directory literally are considered. */
export function globReachesInto(glob: Glob, path: string): boolean {
  const names = path.split('/');
  return glob.alternatives.some(
    (segments) =>
      glob.scope === 'path' &&
      segments.length > names.length &&
      names.every((name, index) => segments[index] !== '**' && matchName(segments[index] ?? '', name)),
  );
}

/**
 * Do these segments name all of the path? Case counts. Each `**` is tried at each position at most once: the table makes it linear in
 * pattern × path, whatever the pattern.
 */
export function matchSegments(segments: readonly string[], names: readonly string[]): boolean {
  let reachable = new Set([0]);
  for (const segment of segments) {
    const next = new Set<number>();
    for (const at of reachable) {
      if (segment === '**') for (let to = at; to <= names.length; to++) next.add(to);
      else if (at < names.length && matchName(segment, names[at] ?? '')) next.add(at + 1);
    }
    reachable = next;
  }
  return reachable.has(names.length);
}

function matchName(segment: string, name: string): boolean {
  let [s, n, star, mark] = [0, 0, -1, 0];
  while (n < name.length) {
    if (segment[s] === '*') [star, mark, s] = [s, n, s + 1];
    else if (s < segment.length && (segment[s] === '?' || segment[s] === name[n])) [s, n] = [s + 1, n + 1];
    else if (star >= 0) [s, mark, n] = [star + 1, mark + 1, mark + 1];
    else return false;
  }
  while (segment[s] === '*') s++;
  return s === segment.length;
}

function expandBraces(pattern: string): string[] {
  const [whole, choices] = /\{([^{}]*)\}/.exec(pattern) ?? [];
  if (whole === undefined || choices === undefined) return [pattern];
  const parts = choices.split(',').slice(0, MAX_ALTERNATIVES + 1);
  const out: string[] = [];
  for (const part of parts) {
    if (out.length > MAX_ALTERNATIVES) break;
    out.push(...expandBraces(pattern.replace(whole, () => part)));
  }
  return out;
}
