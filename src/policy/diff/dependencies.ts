/**
 * Lines by which a file names a package that a build or a test run would fetch. Wide on purpose, and by lines alone: a remark is a
 * hint. Lock files say the same a second time and are left out.
 */
const MANIFESTS: readonly [file: RegExp, line: RegExp][] = [
  [
    /(?:^|\/)package\.json$/i,
    /^\s*"(?:@[\w.-]+\/)?[\w.-]+"\s*:\s*"(?:[\^~<>=*]|v?\d|latest|workspace:|npm:|git|github:|https?:|file:)/,
  ],
  [
    /(?:^|\/)(?:[\w.-]*requirements[\w.-]*|constraints[\w.-]*)\.(?:txt|in)$|(?:^|\/)requirements\/[^/]+\.txt$/i,
    /^\s*[A-Za-z][\w.-]*(?:\[[\w, -]*\])?\s*(?:[<>=!~]=?|@|;|#|$)/,
  ],
  [
    /(?:^|\/)(?:pyproject|cargo|pipfile)(?:\.toml)?$/i,
    /^\s*(?:"?[A-Za-z][\w.-]*"?\s*=\s*(?:"[\^~<>=*\d]|\{)|["'][A-Za-z][\w.-]*(?:\[[\w, -]*\])?\s*[<>=!~;@ ][^"']*["'],?\s*$)/,
  ],
  [/(?:^|\/)go\.mod$/i, /^\s*(?:require\s+)?[\w.-]+\.[a-z]+\/\S+\s+v\d/],
  [/(?:^|\/)gemfile$|\.gemspec$/i, /^\s*(?:gem|\w+\.add_(?:\w+_)?dependency)[\s(]+["']/],
  [/(?:^|\/)pom\.xml$/i, /<artifactId>/],
  [
    /(?:^|\/)[\w.-]+\.gradle(?:\.kts)?$/i,
    /^\s*(?:\w*[iI]mplementation|\w*[aA]pi|compile\w*|runtime\w*|test\w+)[\s(]+["'(]/,
  ],
  [/(?:^|\/)composer\.json$/i, /^\s*"[\w.-]+\/[\w.-]+"\s*:\s*"/],
];

/** Does this line of this file name a package? */
export function namesDependency(path: string, line: string): boolean {
  return MANIFESTS.some(([file, pattern]) => file.test(path) && pattern.test(line));
}
