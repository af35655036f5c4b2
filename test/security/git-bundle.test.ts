import { existsSync, mkdirSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { run, write } from '../git/fixture.ts';
import {
  blob,
  bundleOf,
  commit,
  deltaBomb,
  idOf,
  pack,
  packed,
  RESULT_REF,
  tree,
  writeBundle,
} from '../harvest/craft.ts';
import { execSending, scene, type Scene } from '../harvest/fixture.ts';

// Bundles that no git would make, sent by a "sandbox" that only sends a file. Each refusal has a twin in the same scene: a
// bundle made by the same code that passes, so that a broken pipeline cannot be taken for a secure one.

let stage: Scene;
let file: string;
const text = blob('content\n');

beforeEach(() => {
  stage = scene();
  file = stage.bench.path('hostile.bundle');
});
afterEach(async () => {
  expect(await twin()).toEqual(['fine.txt']);
  expect(existsSync(path.join(stage.quarantine, 'intake.git'))).toBe(false);
  stage.bench.remove();
});

function send(bundle = file, limits = {}) {
  return stage.harvest({ exec: execSending(bundle), harvester: { limits } });
}

/** The base's files and one more. */
async function twin(): Promise<string[] | undefined> {
  const harvest = await send(
    bundleOf(stage.bench.path('twin.bundle'), { base: stage.base, root: rootWith('fine.txt'), objects: [text] }),
  );
  await harvest?.dispose();
  return harvest?.files.map((changed) => changed.path);
}

function baseEntries(): [string, string, string][] {
  return run(['ls-tree', stage.base], { cwd: stage.mirror.path })
    .split('\n')
    .map((line) => {
      const [, mode = '', id = '', name = ''] = /^(\d+) \w+ (\w+)\t(.*)$/.exec(line) ?? [];
      return [mode.replace(/^0/, ''), name, id];
    });
}

function sorted(entries: [string, string | Buffer, string][]) {
  const key = ([mode, name]: [string, string | Buffer, string]) =>
    Buffer.concat([Buffer.from(name), Buffer.from(mode === '40000' ? '/' : '')]);
  return entries.sort((a, b) => Buffer.compare(key(a), key(b)));
}

function rootWith(name: string | Buffer, mode = '100644', id = idOf(text)) {
  return tree(sorted([...baseEntries(), [mode, name, id]]));
}

async function refusedFor(sent: Promise<unknown>, reason: RegExp, what = ''): Promise<void> {
  await expect(sent, what).rejects.toMatchObject({ code: 'harvest', message: expect.stringMatching(reason) as string });
  expect(existsSync(stage.quarantine)).toBe(false);
  expect(run(['fsck', '--full'], { cwd: stage.mirror.path })).toBe('');
}

describe('GIT-001 malformed objects', () => {
  const inner = tree([['100644', 'config', idOf(text)]]);
  const modules = blob('[submodule "x"]\n\tpath = x\n\turl = -u./evil\n');

  test('a .git directory in a tree', async () => {
    bundleOf(file, { base: stage.base, root: rootWith('.git', '40000', idOf(inner)), objects: [inner, text] });
    await refusedFor(send(), /hasDotgit/);
  });

  test('a .gitmodules with an option for a URL', async () => {
    bundleOf(file, { base: stage.base, root: rootWith('.gitmodules', '100644', idOf(modules)), objects: [modules] });
    await refusedFor(send(), /gitmodulesUrl/);
  });

  test('a null object name, a missing object, an object of another type', async () => {
    for (const [mode, id] of [
      ['100644', '0'.repeat(40)],
      ['100644', 'e'.repeat(40)],
      ['40000', idOf(text)],
    ] as const) {
      bundleOf(file, { base: stage.base, root: rootWith('x', mode, id), objects: [text] });
      await refusedFor(send(), /git does not accept its objects/);
    }
  });

  test('a commit that is none', async () => {
    const root = rootWith('x');
    const bad = commit(idOf(root), [stage.base], 'gpgsig \0\n');
    const broken = {
      type: 'commit' as const,
      data: Buffer.from(`tree ${idOf(root)}\nparent ${stage.base}\nauthor x\n\nm\n`),
    };
    for (const tip of [bad, broken]) {
      const header = ['# v2 git bundle', `-${stage.base}`, `${idOf(tip)} ${RESULT_REF}`];
      writeBundle(file, header, pack([tip, root, text].map(packed)));
      await refusedFor(send(), /git does not accept its objects/);
    }
  });

  test('the control: before git 2.46 a fetch straight from the bundle checks nothing', () => {
    bundleOf(file, { base: stage.base, root: rootWith('.git', '40000', idOf(inner)), objects: [inner, text] });
    const into = stage.bench.path('control.git');
    run(['clone', '-q', '--bare', stage.mirror.path, into]);
    const fetch = () =>
      run(
        [
          '-c',
          'fetch.fsckObjects=true',
          '-c',
          'transfer.fsckObjects=true',
          'fetch',
          '-q',
          file,
          `${RESULT_REF}:refs/x`,
        ],
        {
          cwd: into,
        },
      );
    const [, major = 0, minor = 0] = /(\d+)\.(\d+)/.exec(run(['--version']))?.map(Number) ?? [];
    if (major > 2 || minor >= 46) expect(fetch).toThrow(/hasDotgit/);
    else {
      fetch();
      expect(run(['ls-tree', '-r', '--name-only', 'refs/x'], { cwd: into })).toContain('.git/config');
    }
  });
});

describe('GIT-002 names', () => {
  const names = [
    '.git',
    '.GIT',
    '.Git',
    'git~1',
    'GIT~1',
    'git~2',
    '.g\u200cit',
    '.gi\u200dt',
    '.git ',
    '.git.',
    '.git...',
    '.git::$INDEX_ALLOCATION',
    '.git\\config',
    '..',
    '.',
    '',
    'a/b',
    'a\\..\\b',
    'a\nb',
    'a\u001bb',
    '. .',
    '...',
    '\u200c.git',
  ];

  test('in the root or below, each is refused', async () => {
    for (const [index, name] of names.entries()) {
      const sub = tree([['100644', name, idOf(text)]]);
      const root = index % 3 === 0 ? rootWith('sub', '40000', idOf(sub)) : rootWith(name);
      bundleOf(file, { base: stage.base, root, objects: [sub, text] });
      await refusedFor(send(), /./, JSON.stringify(name));
    }
  });

  test('names that only look odd pass', async () => {
    for (const name of ['.gitkeep', '.github.md', 'git', 'a.git', 'ünïcode', 'with space', '-rf', 'git~', '$(id)']) {
      bundleOf(file, { base: stage.base, root: rootWith(name), objects: [text] });
      const harvest = await send();
      expect(harvest?.files.map((changed) => changed.path)).toEqual([name]);
      await harvest?.dispose();
    }
  });

  test('a name that is no UTF-8, one that is too long, two that are the same, an order that is wrong', async () => {
    const roots = [
      rootWith(Buffer.from([0x66, 0xff, 0xfe])),
      rootWith('n'.repeat(300)),
      tree([...sorted(baseEntries()), ['100644', 'z', idOf(text)], ['100644', 'z', idOf(text)]]),
      tree([['100644', 'zz', idOf(text)], ...sorted(baseEntries())]),
      tree([...sorted(baseEntries()), ['100644', 'z', idOf(text)], ['40000', 'z', idOf(tree([]))]]),
    ];
    for (const root of roots) {
      bundleOf(file, { base: stage.base, root, objects: [text, tree([])] });
      await refusedFor(send(), /./);
    }
  });

  test('modes that are none', async () => {
    for (const mode of ['100600', '100666', '100777', '0100644', '060000', '20000', '777']) {
      bundleOf(file, { base: stage.base, root: rootWith('x', mode), objects: [text] });
      await refusedFor(send(), /./, mode);
    }
  });
});

describe('GIT-004 links', () => {
  const link = (target: string) => blob(target);

  test('targets out of the tree, or into .git', async () => {
    for (const target of [
      '/etc/passwd',
      '../../../etc',
      '..',
      'src/../../x',
      '.git/hooks',
      'src/../.GIT/config',
      'git~1',
      'C:\\x',
      '\\\\host\\x',
      '',
    ]) {
      const object = link(target);
      bundleOf(file, { base: stage.base, root: rootWith('link', '120000', idOf(object)), objects: [object] });
      await refusedFor(send(), /symlink/, target);
    }
  });

  test('a link whose name collides with a neighbour is refused, whichever is the link', async () => {
    const object = link('src');
    const gitlink: [string, string, string] = ['160000', 'Mod', 'd'.repeat(40)];
    const roots = [
      tree(sorted([...baseEntries(), ['120000', 'SRC', idOf(object)]])),
      tree(sorted([...baseEntries(), gitlink, ['120000', 'mod', idOf(object)]])),
      tree(sorted([...baseEntries(), gitlink, ['100644', 'mod', idOf(text)]])),
    ];
    for (const root of roots) {
      bundleOf(file, { base: stage.base, root, objects: [object, text] });
      await refusedFor(send(), /collides/);
    }
  });

  test('the host has bare repositories only, and a submodule is a class of its own', async () => {
    bundleOf(file, { base: stage.base, root: rootWith('mod', '160000', 'd'.repeat(40)) });
    const harvest = await send();
    expect(harvest?.files).toMatchObject([{ path: 'mod', protectedClass: 'submodules' }]);
    expect(run(['rev-parse', '--is-bare-repository'], { cwd: harvest?.repository ?? '' })).toBe('true');
    expect(run(['ls-tree', '--name-only', 'HEAD'], { cwd: harvest?.repository ?? '' })).toContain('mod');
    await harvest?.dispose();
  });
});

describe('GIT-007 bundle headers', () => {
  const objects = () => {
    const root = rootWith('x');
    const tip = commit(idOf(root), [stage.base]);
    return { tip: idOf(tip), bytes: pack([tip, root, text].map(packed)) };
  };

  const cases: [string, (base: string, tip: string) => (string | Buffer)[]][] = [
    ['version 1', (b, t) => ['# v1 git bundle', `-${b}`, `${t} ${RESULT_REF}`]],
    ['version 3 with a filter', (b, t) => ['# v3 git bundle', '@filter=blob:none', `-${b}`, `${t} ${RESULT_REF}`]],
    ['version 3 with an unknown capability', (b, t) => ['# v3 git bundle', '@evil=1', `-${b}`, `${t} ${RESULT_REF}`]],
    [
      'version 3 with another hash',
      (b, t) => ['# v3 git bundle', '@object-format=sha256', `-${b}`, `${t} ${RESULT_REF}`],
    ],
    ['a capability in version 2', (b, t) => ['# v2 git bundle', '@object-format=sha1', `-${b}`, `${t} ${RESULT_REF}`]],
    ['no prerequisite', (_, t) => ['# v2 git bundle', `${t} ${RESULT_REF}`]],
    ['a prerequisite that we do not have', (_, t) => ['# v2 git bundle', `-${'e'.repeat(40)}`, `${t} ${RESULT_REF}`]],
    ['two prerequisites', (b, t) => ['# v2 git bundle', `-${b}`, `-${'e'.repeat(40)}`, `${t} ${RESULT_REF}`]],
    ['no ref', (b) => ['# v2 git bundle', `-${b}`]],
    ['another ref', (b, t) => ['# v2 git bundle', `-${b}`, `${t} refs/heads/main`]],
    ['two refs', (b, t) => ['# v2 git bundle', `-${b}`, `${t} ${RESULT_REF}`, `${t} refs/heads/main`]],
    [
      '100,000 refs',
      (b, t) => ['# v2 git bundle', `-${b}`, ...Array.from({ length: 100_000 }, (_, i) => `${t} refs/x/${i}`)],
    ],
    ['a line of 100 MB', (b, t) => ['# v2 git bundle', `-${b} ${'x'.repeat(100 * 2 ** 20)}`, `${t} ${RESULT_REF}`]],
    ['a ref with an option', (b, t) => ['# v2 git bundle', `-${b}`, `${t} --upload-pack=x`]],
    ['a NUL', (b, t) => ['# v2 git bundle', `-${b}\0`, `${t} ${RESULT_REF}`]],
    ['a tip that is not in the pack', (b) => ['# v2 git bundle', `-${b}`, `${'e'.repeat(40)} ${RESULT_REF}`]],
    ['a tip that is a file', (b) => ['# v2 git bundle', `-${b}`, `${idOf(text)} ${RESULT_REF}`]],
    ['the base itself as tip', (b) => ['# v2 git bundle', `-${b}`, `${b} ${RESULT_REF}`]],
  ];
  test('none but the one expected form is accepted', async () => {
    const { tip, bytes } = objects();
    for (const [name, header] of cases) {
      writeBundle(file, header(stage.base, tip), bytes);
      await refusedFor(send(), /./, name);
    }
  });

  test('version 3 with nothing special passes', async () => {
    const { tip, bytes } = objects();
    writeBundle(
      file,
      ['# v3 git bundle', '@object-format=sha1', `-${stage.base} first`, `${tip} ${RESULT_REF}`],
      bytes,
    );
    const harvest = await send();
    expect(harvest?.files).toHaveLength(1);
    await harvest?.dispose();
  });

  test('nothing, noise, no pack, a cut pack, a pack with a wrong checksum', async () => {
    const { tip, bytes } = objects();
    const header = ['# v2 git bundle', `-${stage.base}`, `${tip} ${RESULT_REF}`];
    write(stage.bench.directory, { empty: '', noise: 'npm ERR! something\n'.repeat(10_000) });
    await refusedFor(send(stage.bench.path('empty')), /sent nothing/);
    await refusedFor(send(stage.bench.path('noise')), /bundle/);
    for (const content of [
      Buffer.alloc(0),
      bytes.subarray(0, -30),
      Buffer.concat([bytes.subarray(0, -1), Buffer.from([(bytes.at(-1) ?? 0) ^ 1])]),
    ]) {
      await refusedFor(send(writeBundle(file, header, content)), /./);
    }
  });

  test('a history of its own, two commits, a merge: one commit on the base is what is expected', async () => {
    const root = rootWith('x');
    const orphan = commit(idOf(root), []);
    const first = commit(idOf(root), [stage.base]);
    const second = commit(idOf(root), [idOf(first)]);
    const merge = commit(idOf(root), [stage.base, idOf(first)]);
    for (const [tip, others] of [
      [orphan, []],
      [second, [first]],
      [merge, [first]],
    ] as const) {
      const header = ['# v2 git bundle', `-${stage.base}`, `${idOf(tip)} ${RESULT_REF}`];
      writeBundle(file, header, pack([tip, ...others, root, text].map(packed)));
      await refusedFor(send(), /not one commit on the base/);
    }
  });
});

describe('GIT-010 sizes', () => {
  test('a file of 1 GiB that is small on the wire', async () => {
    const huge = blob(Buffer.alloc(2 ** 30));
    bundleOf(file, { base: stage.base, root: rootWith('huge', '100644', idOf(huge)), objects: [huge] });
    await refusedFor(send(), /"huge" has 1073741824 bytes/);
  });

  test('a delta that grows to 4 GiB', async () => {
    const seed = blob(Buffer.alloc(2 ** 24 - 1));
    const bomb = deltaBomb(seed, 256);
    bundleOf(file, {
      base: stage.base,
      root: rootWith('seed', '100644', idOf(seed)),
      objects: [seed],
      entries: [bomb],
    });
    await refusedFor(send(), /git does not accept its objects/);
  });

  test('a million files that are one object', async () => {
    const id = idOf(text);
    const many = tree(Array.from({ length: 1_000_000 }, (_, i) => ['100644', String(i).padStart(7, '0'), id] as const));
    bundleOf(file, { base: stage.base, root: rootWith('many', '40000', idOf(many)), objects: [many, text] });
    await refusedFor(send(), /more than 5000 files/);
  });

  test('a billion files in nine small trees', async () => {
    const levels = [tree([['100644', 'leaf', idOf(text)]])];
    for (let depth = 0; depth < 9; depth++) {
      const below = idOf(levels.at(-1) ?? text);
      levels.push(tree(Array.from({ length: 10 }, (_, i) => ['40000', `d${i}`, below] as const)));
    }
    const top = idOf(levels.at(-1) ?? text);
    bundleOf(file, { base: stage.base, root: rootWith('deep', '40000', top), objects: [...levels, text] });
    await refusedFor(send(), /more than 5000 files|git does not accept/);
  });

  test('10,000 directories in each other', async () => {
    const levels = [tree([['100644', 'leaf', idOf(text)]])];
    for (let depth = 0; depth < 10_000; depth++) levels.push(tree([['40000', 'd', idOf(levels.at(-1) ?? text)]]));
    const top = idOf(levels.at(-1) ?? text);
    bundleOf(file, { base: stage.base, root: rootWith('deep', '40000', top), objects: [...levels, text] });
    await refusedFor(send(), /more than 64 directories|git does not accept/);
  });

  test('100,000 commits', async () => {
    const root = rootWith('x');
    const chain = [commit(idOf(root), [stage.base])];
    while (chain.length < 100_000) chain.push(commit(idOf(root), [idOf(chain.at(-1) ?? text)]));
    const header = ['# v2 git bundle', `-${stage.base}`, `${idOf(chain.at(-1) ?? text)} ${RESULT_REF}`];
    const entries = [...chain, root, text].map(packed);
    await refusedFor(send(writeBundle(file, header, pack(entries))), /git objects/);
    // A count that lies does not help.
    await refusedFor(send(writeBundle(file, header, pack(entries, 10))), /git does not accept its objects/);
  });

  test('a path of many long names', async () => {
    const levels = [tree([['100644', 'leaf', idOf(text)]])];
    for (let depth = 0; depth < 20; depth++)
      levels.push(tree([['40000', 'n'.repeat(200), idOf(levels.at(-1) ?? text)]]));
    const top = idOf(levels.at(-1) ?? text);
    bundleOf(file, { base: stage.base, root: rootWith('deep', '40000', top), objects: [...levels, text] });
    await refusedFor(send(), /longer than 1024 bytes/);
  });

  test('a stream without end is cut off, and so is one whose sandbox ignores it', async () => {
    bundleOf(file, { base: stage.base, root: rootWith('x'), objects: [text] });
    await refusedFor(send(file, { bundleBytes: 100 }), /larger than 100 bytes/);
    const flood = stage.harvest({
      exec: async ({ stdout, signal }) => {
        for (let i = 0; i < 300 && !signal?.aborted; i++) {
          await new Promise((resolve) => stdout?.write(Buffer.alloc(2 ** 20), resolve));
        }
        return { exitCode: 0, timedOut: false };
      },
    });
    await refusedFor(flood, /larger than 134217728 bytes/);
  });

  test('files that are too large together', async () => {
    const blobs = Array.from({ length: 8 }, (_, i) => blob(Buffer.alloc(15 * 2 ** 20, i)));
    const part = tree(blobs.map((one, i) => ['100644', `f${i}`, idOf(one)] as const));
    bundleOf(file, { base: stage.base, root: rootWith('part', '40000', idOf(part)), objects: [part, ...blobs] });
    await refusedFor(send(), /125829120 bytes together/);
  });

  test('a quarantine directory of a run that crashed does not matter', async () => {
    mkdirSync(path.join(stage.quarantine, 'result.git/objects'), { recursive: true });
    expect(await twin()).toEqual(['fine.txt']);
  });
});
