import { CLASS_TABLE } from './class-table.ts';
import { compileGlob, globMatches, globReachesInto, type Glob } from './glob.ts';
import { canonicalPath } from './path.ts';

/** Classes of files whose change a person should see before it has an effect, the weightiest first. */
export const PROTECTED_CLASSES = [
  'workflow',
  'agent_config',
  'ownership',
  'attributes',
  'submodules',
  'protected',
  'lfs',
  'ci_code',
] as const;
export type ProtectedClass = (typeof PROTECTED_CLASSES)[number];

/** What people read for a class. */
export const CLASS_TEXT: Record<ProtectedClass, string> = {
  workflow: 'workflow or action file',
  agent_config: 'configuration of coding agents and editors',
  ownership: 'code owners',
  attributes: 'git attributes',
  submodules: 'submodule',
  protected: 'protected by the repository',
  lfs: 'belongs in Git LFS, is an ordinary file here',
  ci_code: 'executes in CI',
};

/** Everything that classifying needs to know about the repository. */
export interface ClassRules {
  readonly classes: readonly { class: ProtectedClass; globs: readonly Glob[] }[];
  /** Directories (canonical) that hold an action: all files in them run as part of it. */
  readonly actionDirectories: readonly string[];
}

/**
 * Compiles the rules of one repository. `protectedPaths` are its own patterns; `paths` are all paths of the resulting tree,
 * in which composite and script actions are looked for.
 * Errors: RangeError for a pattern that cannot be used.
 */
export function classRules(options: { protectedPaths: readonly string[]; paths: readonly string[] }): ClassRules {
  const classes = PROTECTED_CLASSES.map((name) => {
    if (name === 'protected') return { class: name, globs: options.protectedPaths.map((one) => compileGlob(one)) };
    // Content decides, not the name: the harvest finds these.
    if (name === 'lfs') return { class: name, globs: [] };
    return { class: name, globs: CLASS_TABLE[name].map((one) => compileGlob(one, { files: true })) };
  });
  const actions = options.paths.map(canonicalPath).filter((path) => /(?:^|\/)action\.ya?ml$/.test(path));
  const directories = new Set(actions.map((path) => path.slice(0, Math.max(0, path.lastIndexOf('/')))));
  // A repository that is an action has `action.yml` at its root; then every file would be one, which says nothing.
  directories.delete('');
  return { classes, actionDirectories: [...directories] };
}

/** The weightiest class of a changed path, or undefined. `link` for a symlink or submodule: it stands for all below it. */
export function classify(rules: ClassRules, path: string, link = false): ProtectedClass | undefined {
  const canonical = canonicalPath(path);
  const inAction = rules.actionDirectories.some((dir) => canonical.startsWith(`${dir}/`));
  if (inAction || (link && rules.actionDirectories.some((dir) => `${dir}/`.startsWith(`${canonical}/`))))
    return 'workflow';
  return rules.classes.find(({ globs }) =>
    globs.some((glob) => globMatches(glob, canonical) || (link && globReachesInto(glob, canonical))),
  )?.class;
}

/** The weightier of two classes. */
export function weightier(a: ProtectedClass | undefined, b: ProtectedClass | undefined): ProtectedClass | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return PROTECTED_CLASSES.indexOf(a) <= PROTECTED_CLASSES.indexOf(b) ? a : b;
}
