import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { aliasesOf, resolveLinks } from '../../src/policy/diff/aliases.ts';
import { classify, classRules } from '../../src/policy/diff/classes.ts';
import { compileGlob, globMatches } from '../../src/policy/diff/glob.ts';
import { holdDecision, stricterHold } from '../../src/policy/diff/hold.ts';
import {
  canonicalName,
  canonicalPath,
  nameProblem,
  resolveTarget,
  symlinkProblem,
} from '../../src/policy/diff/path.ts';
import { pushDecision, resultBranch } from '../../src/policy/diff/refs.ts';

describe('refs', () => {
  const branch = 'cofferdam/12-add-a-thing-x7k2';
  test.each([
    ['refs/heads/cofferdam/12-add-a-thing-x7k2', branch, 12, true],
    ['refs/heads/cofferdam/12-x7k2', 'cofferdam/12-x7k2', 12, true],
    ['refs/heads/main', branch, 12, false],
    ['refs/heads/main', 'main', undefined, false],
    ['cofferdam/12-add-a-thing-x7k2', branch, 12, false],
    ['refs/heads/cofferdam/12-add-a-thing-x7k3', branch, 12, false],
    ['refs/tags/cofferdam/12-add-a-thing-x7k2', branch, 12, false],
    ['refs/heads/cofferdam/13-x7k2', 'cofferdam/13-x7k2', 12, false],
    ['refs/heads/cofferdam/12-../main', 'cofferdam/12-../main', 12, false],
  ])('%s for %s of #%s: %s', (ref, own, number, ok) => {
    const decision = pushDecision(ref, { branch: own, ...(number === undefined ? {} : { number }) });
    expect(decision).toEqual(
      ok ? { allow: true, rule: 'result branch' } : { allow: false, rule: 'result branch', reason: 'ref_not_allowed' },
    );
  });

  test('any title makes a branch that may be pushed', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (title) => {
        const own = resultBranch({ number: 7, title, salt: 'x7k2' });
        expect(pushDecision(`refs/heads/${own}`, { branch: own, number: 7 }).allow).toBe(true);
        expect(own.length).toBeLessThan(80);
      }),
    );
    expect(resultBranch({ number: 7, title: 'Füge Größe hinzu!', salt: 'abcd' })).toBe(
      'cofferdam/7-fuge-gro-e-hinzu-abcd',
    );
  });
});

describe('names', () => {
  test.each([
    ['.GIT', '.git'],
    ['.g\u200cit', '.git'],
    ['.git . .', '.git'],
    ['.git::$DATA', '.git'],
    ['GITHUB~1', '.github'],
    ['GIT~1', '.git'],
    ['Makefile.', 'makefile'],
    ['a\u0301', 'á'],
    ['file~1', 'file~1'],
  ])('%j is %j', (name, canonical) => {
    expect(canonicalName(name)).toBe(canonical);
  });

  test.each([
    '.git',
    'GIT~1',
    'git~12',
    '',
    '.',
    '..',
    'a/b',
    'a\\b',
    'a\0b',
    'a\u007f',
    '.. ',
    '\ufffd',
    'x'.repeat(256),
  ])('%j is a problem', (name) => {
    expect(nameProblem(name)).toEqual(expect.any(String));
  });

  test.each(['a', '.gitignore', '.github', 'git', 'x'.repeat(255), 'ü', '-x', 'a~1'])('%j is fine', (name) => {
    expect(nameProblem(name)).toBeUndefined();
  });

  test.each([
    ['a/link', '../b', undefined],
    ['a/link', './b/c', undefined],
    ['link', '.', undefined],
    ['link', '..', 'points out of the repository'],
    ['a/link', '../../b', 'points out of the repository'],
    ['a/link', 'x/../../../b', 'points out of the repository'],
    ['link', '/a', 'points to an absolute path'],
    ['link', '.git', 'points into `.git`'],
    ['a/link', '../.GIT/config', 'points into `.git`'],
  ])('a link at %s to %s: %s', (path, target, problem) => {
    expect(symlinkProblem(path, target)).toBe(problem);
  });

  test('a target resolves inside the tree or not at all', () => {
    const part = fc.constantFrom('a', 'b', '.', '..', '');
    fc.assert(
      fc.property(fc.array(fc.constantFrom('a', 'b'), { minLength: 1 }), fc.array(part), (at, to) => {
        expect(resolveTarget(`x/${at.join('/')}`, to.join('/'))?.split('/') ?? []).not.toEqual(
          expect.arrayContaining([expect.stringMatching(/^\.{1,2}$/)]),
        );
      }),
    );
  });
});

describe('patterns', () => {
  test.each([
    ['infra/**', 'infra/a/b.tf', true],
    ['infra/**', 'infra', true],
    ['infra', 'infra/a/b.tf', true],
    ['infra', 'x/infra/b.tf', true],
    ['/infra', 'infra/b.tf', true],
    ['/infra', 'x/infra/b.tf', false],
    ['infra/', 'infra/a', true],
    ['infra/*', 'infra/a/b', true],
    ['infra/*.tf', 'infra/a.tf', true],
    ['infra/*.tf', 'infra/x/a.tf', false],
    ['**/secrets/**', 'a/b/secrets/c', true],
    ['**/*.pem', 'a.pem', true],
    ['src/**/test/*.ts', 'src/test/a.ts', true],
    ['src/**/test/*.ts', 'src/a/b/test/a.ts', true],
    ['*.{tf,tfvars}', 'a/b.TFVARS'.toLowerCase(), true],
    ['?.txt', 'ab.txt', false],
    ['Infra/**', 'infra/a', true],
    ['infra', 'infrastructure/a', false],
    ['a.b', 'axb', false],
  ])('%s and %s: %s', (pattern, path, matches) => {
    expect(globMatches(compileGlob(pattern), path)).toBe(matches);
  });

  test('a pattern made to be slow is not', () => {
    const glob = compileGlob(`${'**/'.repeat(40)}${'*a'.repeat(40)}b`);
    expect(globMatches(glob, `${'a/'.repeat(200)}${'a'.repeat(200)}`)).toBe(false);
  });

  test.each(['', '/', '{a,b,c,d,e,f,g,h,i}{a,b,c,d,e,f,g,h,i}'])('%j is refused', (pattern) => {
    expect(() => compileGlob(pattern)).toThrow(RangeError);
  });
});

describe('classes', () => {
  const rules = classRules({
    protectedPaths: ['infra/**', '*.sql'],
    paths: ['action.yml', 'tools/release/action.yaml', 'src/a.ts'],
  });

  test.each([
    ['.github/workflows/ci.yml', 'workflow'],
    ['.github/WORKFLOWS/ci.yml', 'workflow'],
    ['.github/workflows ./ci.yml', 'workflow'],
    ['GITHUB~1/workflows/ci.yml', 'workflow'],
    ['x/.github/workflows/ci.yml', undefined],
    ['deep/er/action.yml', 'workflow'],
    ['tools/release/dist/index.js', 'workflow'],
    ['.circleci/config.yml', 'workflow'],
    ['CLAUDE.md', 'agent_config'],
    ['pkg/AGENTS.md', 'agent_config'],
    ['pkg/.claude/x', 'agent_config'],
    ['.github/CODEOWNERS', 'ownership'],
    ['src/.gitattributes', 'attributes'],
    ['.gitmodules', 'submodules'],
    ['infra/x', 'protected'],
    ['db/1.sql', 'protected'],
    ['package.json', 'ci_code'],
    ['build', 'ci_code'],
    ['build/out.js', undefined],
    ['src/index.ts', undefined],
    ['README.md', undefined],
  ])('%s is %s', (path, expected) => {
    expect(classify(rules, path)).toBe(expected);
  });

  test.each([
    ['.github', 'workflow'],
    ['.github/workflows', 'workflow'],
    ['tools', 'workflow'],
    ['infra', 'protected'],
    ['docs', undefined],
  ])('a link at %s is %s', (path, expected) => {
    expect(classify(rules, path, true)).toBe(expected);
  });

  test('canonical form is stable', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (path) => {
        expect(canonicalPath(canonicalPath(path)).toLowerCase()).toBe(canonicalPath(canonicalPath(path)));
      }),
    );
  });
});

describe('aliases', () => {
  test('through a link to a directory, to a file, in a chain, in a circle', () => {
    const links = resolveLinks(
      new Map([
        ['.github/workflows', '../docs'],
        ['z', 'docs/a.yml'],
        ['b', 'c'],
        ['c', 'd'],
        ['l1', 'l2'],
        ['l2', 'l1'],
        ['out', '../../x'],
      ]),
    );
    expect(aliasesOf('docs/a.yml', links).sort()).toEqual(['.github/workflows/a.yml', 'z']);
    expect(aliasesOf('d/x', links).sort()).toEqual(['b/x', 'c/x']);
    expect(aliasesOf('l1/x', links)).toEqual(['l2/x']);
    expect(aliasesOf('src/a.ts', links)).toEqual([]);
  });
});

describe('hold', () => {
  const workflow = { path: '.github/workflows/x.yml', protectedClass: 'workflow' };
  const code = { path: 'package.json', protectedClass: 'ci_code' };
  const plain = { path: 'src/a.ts' };
  test.each([
    ['never', 'secrets', [workflow, code], []],
    ['always', 'none', [plain], ['src/a.ts']],
    ['protected', 'none', [plain], []],
    ['protected', 'none', [plain, code], []],
    ['protected', 'secrets', [plain, code], ['package.json']],
    ['protected', 'unknown', [plain, code], ['package.json']],
    ['protected', 'none', [workflow, code], ['.github/workflows/x.yml']],
  ] as const)('%s, CI with %s', (setting, exposure, files, held) => {
    const decision = holdDecision({ setting, ci: { exposure, reasons: [] }, files });
    expect(decision.hold ? decision.files : []).toEqual(held);
  });

  // A fork's commits come along: what a stranger wrote is run by CI like the repository's own, tests included.
  test.each([
    ['never', 'none', [plain, code], []],
    ['never', 'none', [plain, workflow], ['.github/workflows/x.yml']],
    ['never', 'secrets', [plain], ['src/a.ts']],
    ['protected', 'none', [plain, code], []],
    ['protected', 'secrets', [plain, code], ['package.json', 'src/a.ts']],
    ['protected', 'unknown', [plain, workflow], ['.github/workflows/x.yml', 'src/a.ts']],
    ['always', 'none', [plain], ['src/a.ts']],
  ] as const)('a stranger, %s, CI with %s', (setting, exposure, files, held) => {
    const decision = holdDecision({ setting, ci: { exposure, reasons: [] }, files, stranger: true });
    expect(decision.hold ? decision.files : []).toEqual(held);
  });

  test('says why CI code waits only where it does', () => {
    const ci = { exposure: 'secrets' as const, reasons: [{ file: 'ci.yml', risk: 'secrets' as const }] };
    expect(holdDecision({ setting: 'protected', ci, files: [code] })).toMatchObject({ ci: ci.reasons });
    expect(holdDecision({ setting: 'protected', ci, files: [workflow] })).toMatchObject({ ci: [] });
  });

  test.each([
    ['never', 'always', 'always'],
    ['protected', 'never', 'protected'],
    ['always', 'protected', 'always'],
  ] as const)('the stricter of %s and %s is %s', (a, b, stricter) => {
    expect(stricterHold(a, b)).toBe(stricter);
  });
});
