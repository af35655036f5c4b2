import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ChangedFile } from '../../src/domain/run.ts';
import { readPatch } from '../../src/policy/diff/patch.ts';
import { remarksOn, type Remark } from '../../src/policy/diff/remarks.ts';
import { annotations, MAX_ANNOTATIONS } from '../../src/policy/markdown/remarks.ts';

/** Not written out: this project has no such test of its own, and looks for them. */
const [SKIP, ONLY] = ['skip', 'only'];

type Tree = Record<string, string>;

/** What git itself says of the difference between two trees. */
function diffOf(before: Tree, after: Tree): string {
  const dir = mkdtempSync(join(tmpdir(), 'cofferdam-diff-'));
  const git = (...args: string[]): string =>
    execFileSync('git', ['-c', 'user.name=x', '-c', 'user.email=x@x.test', '-c', 'init.defaultBranch=main', ...args], {
      cwd: dir,
      encoding: 'utf8',
    });
  const lay = (tree: Tree): void => {
    git('rm', '-rfq', '--ignore-unmatch', '.');
    for (const [path, content] of Object.entries(tree)) {
      mkdirSync(dirname(join(dir, path)), { recursive: true });
      writeFileSync(join(dir, path), content);
    }
    git('add', '-A');
    git('commit', '-qm', 'x', '--allow-empty');
  };
  try {
    git('init', '-q');
    lay(before);
    lay(after);
    return git('diff-tree', '--no-renames', '-r', '-p', '--binary', '--full-index', 'HEAD~1', 'HEAD');
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function changed(path: string, patch: Partial<ChangedFile> = {}): ChangedFile {
  return { path, status: 'modified', additions: 1, deletions: 1, ...patch };
}

function remarks(before: Tree, after: Tree, files: Record<string, Partial<ChangedFile>> = {}): Remark[] {
  const paths = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  return remarksOn({ patch: diffOf(before, after), files: paths.map((path) => changed(path, files[path])) });
}

const kinds = (found: readonly Remark[]): [string, number | undefined][] => found.map(({ kind, line }) => [kind, line]);

describe('a patch', () => {
  it('is read with the lines of the new file, whatever its content looks like', () => {
    const before = 'one\ntwo\nthree\nfour\n';
    const after = 'one\n--- a/evil\n+++ b/evil\n@@ -1,2 +1,2 @@\ndiff --git a/x b/x\nfour\nlast\n';
    const [file, ...others] = readPatch(diffOf({ 'a b.txt': before }, { 'a b.txt': after }));
    expect(others).toEqual([]);
    expect(file?.path).toBe('a b.txt');
    const lines = after.split('\n');
    for (const { sign, text, line } of file?.lines ?? []) if (sign !== '-') expect(text).toBe(lines[line - 1]);
  });

  it('knows unusual names, deleted and binary files, and files without a line end', () => {
    const before = { 'gö"n\te.txt': 'x\n', 'gone.txt': 'a\n', 'image.bin': 'a\0b' };
    const files = readPatch(diffOf(before, { 'gö"n\te.txt': 'y', 'image.bin': 'a\0c' }));
    expect(files.map(({ path, deleted }) => [path, deleted])).toEqual([
      ['gone.txt', true],
      ['gö"n\te.txt', false],
    ]);
  });

  it('gives lines that the new file has, of any change', () => {
    const lines = fc.array(fc.constantFrom('a', 'b', '', '+', '-x', '@@', ' '), { maxLength: 12 });
    fc.assert(
      fc.property(lines, lines, (before, after) => {
        const text = (list: string[]): string => list.map((line) => `${line}\n`).join('');
        for (const file of readPatch(diffOf({ f: text(before), other: 'x' }, { f: text(after), other: 'x' })))
          for (const one of file.lines) {
            expect(one.line).toBeGreaterThanOrEqual(1);
            expect(one.line).toBeLessThanOrEqual(Math.max(1, after.length));
            if (one.sign !== '-') expect(one.text).toBe(after[one.line - 1]);
          }
      }),
      { numRuns: 15 },
    );
  });

  it('that is cut at any byte, or is none, is read as far as it goes', () => {
    const patch = diffOf({ a: 'x\ny\n' }, { a: 'x\nz\n', b: 'new\n' });
    for (let end = 0; end < patch.length; end += 1) expect(readPatch(patch.slice(0, end)).length).toBeLessThan(3);
    fc.assert(fc.property(fc.string(), (text) => void readPatch(`diff --git a/a b/a\n${text}`)));
  });
});

describe('remarks', () => {
  it.each([
    ['a skipped test', "it('works', () => {});", `it.${SKIP}('works', () => {});`, 'test_skipped'],
    ['one that keeps the others from running', "test('a', f);", `test.${ONLY}('a', f);`, 'test_skipped'],
    ['xit', 'it("a", f)', 'xit("a", f)', 'test_skipped'],
    ['pytest', 'def test_a():', '@pytest.mark.skip(reason="x")\ndef test_a():', 'test_skipped'],
    ['go', 'func TestA(t *testing.T) {', 'func TestA(t *testing.T) {\n\tt.Skip("later")', 'test_skipped'],
    ['rust', '#[test]', '#[test]\n#[ignore]', 'test_skipped'],
    ['java', '@Test', '@Test\n@Disabled', 'test_skipped'],
    ['a deleted test', "it('works', () => {});", 'const x = 1;', 'test_deleted'],
    ['a deleted test of python', 'def test_a():\n    assert f()', 'x = 1', 'test_deleted'],
    ['a token of a known shape', 'x', `key = ghp_${'a1B2'.repeat(9)}`, 'secret'],
    ['a text that is named a secret', 'x', 'const apiKey = "9f2kd83hfls02k";', 'secret'],
    ['in a mapping', 'x', '  "client_secret": "9f2kd83hfls02k",', 'secret'],
  ])('%s', (_name, before, after, kind) => {
    const found = remarks({ 'src/a.test.js': `top\n${before}\nend\n` }, { 'src/a.test.js': `top\n${after}\nend\n` });
    expect(found.map((one) => one.kind)).toContain(kind);
    expect(annotations(found)).toContainEqual(expect.objectContaining({ path: 'src/a.test.js' }));
    // The other way round there is nothing of the kind.
    const back = remarks({ f: `top\n${after}\nend\n` }, { f: `top\n${before}\nend\n` });
    expect(back.map((one) => one.kind)).not.toContain(kind);
  });

  it.each([
    ['a test that moved and was indented', "it('a', f);\nx\n", "x\n  it('a', f);\n"],
    ['a stream that skips', 'x\n', 'rows.skip(5).only(fields)\n'],
    [
      'a password that is asked for',
      'x\n',
      'const password = process.env.PASSWORD;\nlogin({ password: "${PASSWORD}" })\n',
    ],
    ['one that is a stand-in', 'x\n', 'password = "your-password-here"\nsecret: "********"\n'],
    ['a secret that was taken out', 'const apiKey = "9f2kd83hfls02k";\n', 'const apiKey = read();\n'],
  ])('not on %s', (_name, before, after) => {
    expect(remarks({ 'a.js': before }, { 'a.js': after })).toEqual([]);
  });

  it('names the line, and for a file that is gone none', () => {
    const found = remarks(
      { 'a.test.js': "one\ntwo\nit('a', f);\nit('b', f);\n", 'gone.test.js': "it('c', f);\n", 'ci.yml': 'on: push\n' },
      { 'a.test.js': 'one\ntwo\n', 'ci.yml': 'x\non: push\n' },
      { 'ci.yml': { protectedClass: 'workflow' }, 'gone.test.js': { status: 'deleted' } },
    );
    expect(kinds(found)).toEqual([
      ['protected', 1],
      ['test_deleted', 2],
      ['test_deleted', undefined],
    ]);
    expect(annotations(found).map(({ path, start_line, title }) => [path, start_line, title])).toEqual([
      ['ci.yml', 1, 'Protected file: workflow or action file'],
      ['a.test.js', 2, 'A test was removed'],
    ]);
  });

  it('of a protected file is there when its patch is cut off', () => {
    const files = [changed('ci.yml', { protectedClass: 'workflow' })];
    expect(remarksOn({ patch: '', files })).toMatchObject([{ kind: 'protected', line: undefined }]);
  });

  it('are fifty at most for GitHub, the weightiest first, ten for a file', () => {
    const many = `${`it.${SKIP}('a', f);\n`.repeat(40)}password = "9f2kd83hfls02k"\n`;
    const tree = Object.fromEntries(Array.from({ length: 12 }, (_, n) => [`t${n}.js`, many]));
    const found = remarks({}, tree);
    expect(found).toHaveLength(120);
    expect(annotations(found)).toHaveLength(MAX_ANNOTATIONS);
  });

  it('GH-003: a name that would have to be shown differently has no annotation', () => {
    const paths = ['a\u202eb.js', 'a\nb.js', 'a\u001b[31m.js', `${'x'.repeat(2_000)}.js`, 'plain.js'];
    const marks = annotations(paths.map((path): Remark => ({ kind: 'secret', path, line: 1 })));
    expect(marks.map(({ path }) => path)).toEqual(['plain.js']);
  });
});

describe('INJ-015 packages that a change names', () => {
  it.each([
    ['package.json', '{ "dependencies": {', '    "left-padd": "^1.0.0",'],
    ['web/package.json', '{ "dependencies": {', '    "@acme/thing": "workspace:*",'],
    ['requirements-dev.txt', 'pytest==8', 'reqeusts>=2'],
    ['requirements.txt', 'pytest==8', 'reqeusts'],
    ['pyproject.toml', '[project]', '  "reqeusts >= 2",'],
    ['Cargo.toml', '[dependencies]', 'serd = { version = "1" }'],
    ['Cargo.toml', '[dependencies]', 'serd = "1"'],
    ['go.mod', 'module x', 'require example.test/a/b v1.2.3'],
    ['Gemfile', 'source "x"', "gem 'railz'"],
    ['pom.xml', '<dependencies>', '<artifactId>junitt</artifactId>'],
    ['build.gradle.kts', 'dependencies {', '  testImplementation("a.b:c:1")'],
    ['composer.json', '{ "require": {', '    "acme/thing": "^2",'],
  ])('%s says so beside the line', (path, before, line) => {
    const found = remarks({ [path]: `${before}\n` }, { [path]: `${before}\n${line}\n` });
    expect(kinds(found)).toEqual([['dependency', 2]]);
    // Moved within the file is not new.
    const moved = remarks({ [path]: `${before}\n${line}\nx\n` }, { [path]: `${before}\nx\n${line}\n` });
    expect(kinds(moved)).toEqual([]);
  });

  it.each([
    ['package.json', '  "test": "vitest run",'],
    ['package.json', '  "name": "shop",'],
    ['requirements.txt', '# about reqeusts'],
    ['Cargo.toml', '[profile.release]'],
    ['go.mod', 'go 1.24'],
    ['src/a.ts', '    "left-padd": "^1.0.0",'],
    ['package-lock.json', '    "left-padd": "^1.0.0",'],
  ])('%s says nothing of %s', (path, line) => {
    expect(kinds(remarks({ [path]: 'x\n' }, { [path]: `x\n${line}\n` }))).toEqual([]);
  });
});

describe('INJ-016 a change that makes itself pass', () => {
  it.each([
    ['a.ts', '// eslint-disable-next-line no-eval'],
    ['a.ts', '// @ts-expect-error later'],
    ['a.py', 'import x  # noqa: F401'],
    ['a.py', 'y = x  # type: ignore[attr-defined]'],
    ['a.go', 'x() //nolint:errcheck'],
    ['a.rs', '#[allow(clippy::all)]'],
    ['A.java', '@SuppressWarnings("unchecked")'],
    ['.github/workflows/ci.yml', '        continue-on-error: true'],
    ['Makefile', '\tnpm test || true'],
  ])('%s: %s', (path, line) => {
    expect(kinds(remarks({ [path]: 'x\n' }, { [path]: `x\n${line}\n` }))).toEqual([['check_off', 2]]);
  });

  it.each([
    ['a.ts', 'const on = left || true;'],
    ['a.ts', 'if (a || b) return;'],
    ['ci.yml', '        continue-on-error: false'],
  ])('%s: nothing of %s', (path, line) => {
    expect(kinds(remarks({ [path]: 'x\n' }, { [path]: `x\n${line}\n` }))).toEqual([]);
  });
});
