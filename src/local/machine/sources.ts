import { readFile } from 'node:fs/promises';
import { CofferdamError } from '../../domain/errors.ts';
import { mustRun } from './process.ts';

/** A Debian archive that this host already uses, so that nothing here names a mirror of its own. */
export interface DebianArchive {
  uri: string;
  /** The archive's main releases, or its security updates. */
  label: 'Debian' | 'Debian-Security';
  /** The release that the host follows there, such as `bookworm` or `bookworm-security`. */
  codename: string;
  /** Path of the keyring that apt uses for it, when its configuration names one. */
  signedBy?: string;
}

/** Releases in order, for "the next one". Debian's names do not follow from its numbers. */
const RELEASES = ['bookworm', 'trixie', 'forky'] as const;

/**
 * The Debian archives of this host's own apt configuration, asked from apt itself (so both source formats and mirrors work).
 * Errors: `docker_unavailable` when there is none, as on another distribution or before the first `apt-get update`.
 */
export async function debianArchives(signal?: AbortSignal): Promise<DebianArchive[]> {
  const { stdout } = await mustRun(['apt-get', 'indextargets', 'Created-By: Packages'], { signal });
  const archives = await Promise.all(parseTargets(stdout).map(withKeyring));
  if (archives.length > 0) return archives;
  throw new CofferdamError(
    'docker_unavailable',
    'local.debianArchives',
    'apt knows no Debian archive here: run `apt-get update` first, or on another distribution provide Docker with a gVisor runtime yourself',
  );
}

interface Target extends Omit<DebianArchive, 'signedBy'> {
  signedBy: string | undefined;
  entry: string | undefined;
}

/** One entry for each archive and release in the output of `apt-get indextargets`. */
export function parseTargets(text: string): Target[] {
  const found = new Map<string, Target>();
  for (const stanza of text.split(/\n\n+/)) {
    const field = (name: string) => new RegExp(`^${name}: (.+)$`, 'mi').exec(stanza)?.[1];
    const [uri, label, codename] = [field('Repo-URI'), field('Label'), field('Codename')];
    if (field('Origin') !== 'Debian' || field('Component') !== 'main') continue;
    if (uri === undefined || codename === undefined || (label !== 'Debian' && label !== 'Debian-Security')) continue;
    const entry = field('Sourcesentry');
    found.set(`${uri} ${codename}`, { uri, label, codename, signedBy: field('Signed-By'), entry });
  }
  return [...found.values()];
}

/** apt 2.6 does not report the keyring of a target, but says in which file the entry stands. */
async function withKeyring({ signedBy, entry, ...archive }: Target): Promise<DebianArchive> {
  const file = entry?.replace(/:\d+$/, '');
  const text = signedBy === undefined && file !== undefined ? await readFile(file, 'utf8').catch(() => '') : '';
  const keyring = signedBy ?? /signed-by\s*[:=]\s*(\/[^\s\]]+)/i.exec(text)?.[1];
  return keyring === undefined ? archive : { ...archive, signedBy: keyring };
}

/** The main release that this host runs: the shortest name among its main archives (`bookworm`, not `bookworm-updates`). */
export function hostRelease(archives: readonly DebianArchive[]): string {
  const names = archives.filter((archive) => archive.label === 'Debian').map((archive) => archive.codename);
  const release = names.toSorted((a, b) => a.length - b.length)[0];
  if (release === undefined) {
    throw new CofferdamError('docker_unavailable', 'local.hostRelease', 'apt knows no main Debian archive here');
  }
  return release;
}

/** Where a newer build of a package may be found, nearest first: the release's backports, then the releases after it. */
export function newerReleases(release: string): string[] {
  const at = RELEASES.findIndex((name) => name === release);
  return [`${release}-backports`, ...(at < 0 ? [] : RELEASES.slice(at + 1))];
}

/** One-line sources for a release from the host's archives; `security` adds its updates. */
export function sourceLines(archives: readonly DebianArchive[], release: string, security: boolean): string[] {
  const main = archives.find((archive) => archive.label === 'Debian');
  const updates = archives.find((archive) => archive.label === 'Debian-Security');
  const line = (archive: DebianArchive, suite: string) =>
    `deb ${archive.signedBy === undefined ? '' : `[signed-by=${archive.signedBy}] `}${archive.uri} ${suite} main`;
  const lines = main === undefined ? [] : [line(main, release)];
  if (security && main !== undefined) lines.push(line(main, `${release}-updates`));
  if (security && updates !== undefined) lines.push(line(updates, `${release}-security`));
  return lines;
}
