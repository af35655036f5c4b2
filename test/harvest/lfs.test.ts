import { copyFileSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { isPointer } from '../../src/policy/diff/lfs.ts';
import { write } from '../git/fixture.ts';
import { scene, type Scene } from './fixture.ts';

function pointer(fill: string): string {
  return `version https://git-lfs.github.com/spec/v1\noid sha256:${fill.repeat(64)}\nsize 12345\n`;
}

describe('what is a pointer', () => {
  test.each([
    ['as Git LFS writes it', pointer('a'), true],
    ['with other line ends', pointer('a').replaceAll('\n', '\r\n'), true],
    ['with an extension', pointer('a').replace('\noid', `\next-0-x sha256:${'b'.repeat(64)}\noid`), true],
    ['of an older version', pointer('a').replace('git-lfs.github', 'hawser.github'), true],
    ['behind blank lines', `\n\n${pointer('a')}`, true],
    ['with much behind it', pointer('a') + 'x'.repeat(1024), false],
    ['without an object', 'version https://git-lfs.github.com/spec/v1\n', false],
    ['a text about them', `A pointer begins with version https://git-lfs.github.com/spec/v1, then the oid.\n`, false],
    ['nothing', '', false],
  ])('%s', (_name, content, expected) => {
    expect(isPointer(content)).toBe(expected);
  });
});

describe('Git LFS in a result', () => {
  let stage: Scene;
  afterEach(() => {
    stage.bench.remove();
  });

  function begin(): Scene {
    stage = scene({
      '.gitattributes': '*.png filter=lfs diff=lfs merge=lfs -text\n',
      'assets/.gitattributes': 'plain.png -filter\n[attr]big filter=lfs\n',
      'assets/logo.png': pointer('a'),
      'assets/old.png': pointer('b'),
      'src/a.ts': 'export {};\n',
    });
    return stage;
  }

  test.each([
    ['a new pointer', { 'assets/new.png': pointer('c') }, 'assets/new.png'],
    ['a changed one', { 'assets/logo.png': pointer('c') }, 'assets/logo.png'],
    ['one where no attribute asks for it', { 'data.bin': pointer('c') }, 'data.bin'],
  ])('%s is refused by name', async (_name, files, named) => {
    write(begin().workspace, files);
    await expect(stage.harvest()).rejects.toThrow(`pointers of Git LFS whose objects are not uploaded`);
    await expect(stage.harvest()).rejects.toThrow(JSON.stringify(named));
  });

  test('what is unchanged, moved, copied or deleted passes', async () => {
    const { workspace } = begin();
    write(workspace, { 'src/a.ts': 'export const a = 1;\n' });
    renameSync(path.join(workspace, 'assets/logo.png'), path.join(workspace, 'assets/brand.png'));
    copyFileSync(path.join(workspace, 'assets/brand.png'), path.join(workspace, 'icon.png'));
    rmSync(path.join(workspace, 'assets/old.png'));
    const harvest = await stage.harvest();
    expect(harvest?.files.map((file) => `${file.path} ${file.status} ${file.protectedClass ?? ''}`).sort()).toEqual([
      'assets/brand.png added ',
      'assets/logo.png deleted ',
      'assets/old.png deleted ',
      'icon.png added ',
      'src/a.ts modified ',
    ]);
  });

  test('content where a pointer belongs is a class of its own, as the base’s attributes have it', async () => {
    write(begin().workspace, {
      '.gitattributes': '',
      'assets/logo.png': 'PNG',
      'assets/new "x"ü.png': 'PNG',
      'assets/plain.png': 'PNG',
      'assets/empty.png': '',
      'scripts/x.png': 'PNG',
      'src/b.txt': 'twin',
    });
    const harvest = await stage.harvest();
    const classes = Object.fromEntries(harvest?.files.map((file) => [file.path, file.protectedClass]) ?? []);
    expect(classes).toEqual({
      '.gitattributes': 'attributes',
      'assets/logo.png': 'lfs',
      'assets/new "x"ü.png': 'lfs',
      'assets/plain.png': undefined,
      'assets/empty.png': undefined,
      'scripts/x.png': 'lfs',
      'src/b.txt': undefined,
    });
  });
});
