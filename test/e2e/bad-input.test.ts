import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { demoScript } from '../../src/local/demo/script.ts';
import { PEOPLE, type DemoStage } from '../../src/local/demo/stage.ts';
import type { RepositoryHandle } from '../../src/local/github/repository-handle.ts';
import { product, type Product } from './product.ts';
import { openScene, WAIT, type Scene } from './scene.ts';

let scene: Scene;
let stage: DemoStage;
let p: Product;

beforeAll(async () => {
  p = await product();
  scene = await openScene({ script: demoScript });
  stage = scene.stage;
});
afterAll(async () => {
  await scene[Symbol.asyncDispose]();
  await p[Symbol.asyncDispose]();
});

describe('settings that are missing or wrong', () => {
  const nothing = { APP_ID: '', PRIVATE_KEY: '', WEBHOOK_SECRET: '', COFFERDAM_POLICY: '', REDIS_URL: '' };

  it('start without credentials lists what is missing, names setup, and exits 2', async () => {
    const ended = await p.run(['start'], { env: nothing });
    expect(ended.code).toBe(2);
    expect(ended.stderr).toContain('APP_ID, PRIVATE_KEY, WEBHOOK_SECRET, COFFERDAM_POLICY');
    expect(ended.stderr).toContain('npm run -s cofferdam -- setup');
  });

  it('a policy with an unknown key is refused with its line before anything starts', async () => {
    const policy = join(p.dir, 'broken.yml');
    await writeFile(policy, 'egress: { allow: [] }\nlimits:\n  maxCostUsd: 2\n  timeoutMinuets: 3\n');
    const ended = await p.run(['start'], { env: { ...stage.env, COFFERDAM_POLICY: policy } });
    expect(ended.code).toBe(2);
    expect(ended.stderr).toMatch(/4:3.*timeoutMinuets/);
  });

  it('a Redis, a GitHub or a key that does not work is named', async () => {
    const redis = await p.run(['server'], { env: { ...stage.env, REDIS_URL: 'redis://127.0.0.1:1' } });
    expect(redis).toMatchObject({ code: 125 });
    expect(redis.stderr).toContain('Redis does not answer at redis://127.0.0.1:1');
    const github = await p.run(['start'], {
      env: { ...stage.env, GHE_HOST: '127.0.0.1:1', COFFERDAM_DATA_DIR: join(p.dir, 'd1') },
    });
    expect(github).toMatchObject({ code: 2 });
    expect(github.stderr).toContain('check APP_ID, PRIVATE_KEY, GHE_HOST and GHE_PROTOCOL');
    const key = await p.run(['start'], { env: { ...stage.env, PRIVATE_KEY: 'nonsense' } });
    expect(key).toMatchObject({ code: 2 });
    expect(key.stderr).toContain('PRIVATE_KEY is neither PEM nor PEM in base64');
    expect(key.stderr).not.toContain('nonsense');
  });
});

describe('a repository, a file or a command that cannot work', () => {
  beforeAll(async () => {
    await scene.start();
  });

  async function repositoryWith(name: string, files?: Record<string, string>): Promise<RepositoryHandle> {
    return stage.standIn.createRepository({
      owner: 'acme',
      name,
      ...(files === undefined ? {} : { files }),
      collaborators: { [PEOPLE.writer]: 'write' },
      labels: ['agent'],
    });
  }

  /** The last word of the run that this comment asked for. */
  async function answer(repository: RepositoryHandle, body: string): Promise<string> {
    const issue = await repository.openIssue({ title: 'Do something', author: PEOPLE.writer });
    repository.comment(issue.number, { body, author: PEOPLE.writer });
    const end = await stage.standIn.waitFor(
      () => repository.comments(issue.number).find((one) => one.viaApp && !one.body.includes('### ⏳')),
      { ...WAIT, what: 'the end of the run' },
    );
    expect(repository.pulls()).toEqual([]);
    return end.body;
  }

  it('an empty repository is said to be empty', async () => {
    expect(await answer(await repositoryWith('empty'), '/agent do it')).toContain('it has no branch with a commit');
  });

  it('a configuration file with a mistake is shown with line and column, and nothing runs', async () => {
    const calls = stage.provider?.calls.length;
    const repository = await repositoryWith('typo', {
      '.github/cofferdam.yml': 'setup: "true"\nverfy: [npm test]\n',
      a: '',
    });
    const said = await answer(repository, '/agent do it');
    expect(said).toContain('verfy');
    expect(said).toMatch(/2:1/);
    expect(stage.provider?.calls).toHaveLength(calls ?? -1);
  });

  it('a setup that fails is shown with its command and output', async () => {
    const repository = await repositoryWith('setup', {
      '.github/cofferdam.yml': 'setup: echo no luck today; exit 3\n',
      a: '',
    });
    const said = await answer(repository, '/agent do it');
    expect(said).toContain('ended with 3');
    expect(said).toContain('no luck today');
  });

  it('a limit above the ceiling is refused by name', async () => {
    const repository = await repositoryWith('limit', { a: '' });
    expect(await answer(repository, '/agent run --max-cost 99 do it')).toContain(
      '$99 is above the ceiling here, which is $2',
    );
  });

  it('leaves nothing behind', async () => {
    expect(await readdir(join(stage.dataDir, 'runs')).catch(() => [])).toEqual([]);
    expect(stage.standIn.violations).toEqual([]);
  });
});
