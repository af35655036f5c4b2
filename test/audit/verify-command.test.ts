import { appendFile, copyFile, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { publicKeyFile } from '../../src/audit/seal.ts';
import { VERIFY_EXIT } from '../../src/audit/verify.ts';
import { auditShowCommand } from '../../src/cli/audit.ts';
import { verifyCommand } from '../../src/cli/verify.ts';
import { readEnvironment } from '../../src/config/environment.ts';
import { RunId } from '../../src/domain/ids.ts';
import { directory, openLog, putAll, RUN_ID, WHOLE_RUN, type Directory } from './run-log.ts';

const OTHER = RunId.parse('rbbbbbbbbbbbb');
let dir: Directory;
let file: string;

beforeEach(async () => {
  dir = await directory();
  const log = await openLog(dir);
  await putAll(log, WHOLE_RUN);
  await log.seal();
  ({ file } = log);
});
afterEach(() => dir[Symbol.asyncDispose]());

async function verify(
  options: { target?: string; key?: string; json?: boolean; settings?: Record<string, string> } = {},
): Promise<[number, string]> {
  const { settings, ...asked } = options;
  const said: string[] = [];
  const environment = readEnvironment({ COFFERDAM_DATA_DIR: dir.path, ...settings });
  const stdout = { write: (text: string) => said.push(text) };
  return [await verifyCommand({ target: RUN_ID, ...asked, environment, stdout }), said.join('')];
}

async function otherKey(): Promise<string> {
  const path = join(dir.path, 'other.pub');
  await writeFile(path, generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }));
  return path;
}

describe('verify exits with', () => {
  it('0 when chain, seal and signature are right, by run id, by file, and as JSON', async () => {
    expect(await verify()).toEqual([0, expect.stringMatching(/^valid: chain, seal and signature \(\d+ lines/)]);
    expect((await verify({ target: file, key: publicKeyFile(dir.path) }))[0]).toBe(0);
    const [code, json] = await verify({ json: true });
    expect([code, JSON.parse(json)]).toMatchObject([0, { verdict: 'valid', runId: RUN_ID, file }]);
  });

  it('1 when it is broken, and names the first wrong line', async () => {
    await writeFile(file, (await readFile(file, 'utf8')).replace('"seq":7', '"seq":8'));
    expect(await verify()).toEqual([1, expect.stringContaining(`broken at ${file}:8: `)]);
  });

  it('1 when its end is missing, whatever is left', async () => {
    const lines = (await readFile(file, 'utf8')).trimEnd().split('\n');
    await writeFile(file, `${lines.slice(0, 5).join('\n')}\n`);
    const [code, said] = await verify();
    expect([code, said]).toEqual([
      1,
      expect.stringContaining(`broken at ${file}:6: the seal counts ${lines.length} lines`),
    ]);
    await truncate(file, 0);
    expect(await verify()).toEqual([1, expect.stringContaining('the file is empty')]);
  });

  it('AUD-001 1 when it is the whole record of another run, with its seal, in this one’s place', async () => {
    const other = await openLog(dir, OTHER);
    await putAll(other, WHOLE_RUN);
    await other.seal();
    expect((await verify({ target: OTHER }))[0]).toBe(0);
    for (const beside of ['', '.seal']) await copyFile(`${other.file}${beside}`, `${file}${beside}`);
    for (const target of [RUN_ID, file])
      expect(await verify({ target })).toEqual([
        1,
        expect.stringContaining(`broken at ${file}:1: belongs to run ${OTHER}, not to ${RUN_ID}`),
      ]);
    // A file of another name says nothing of whose it is.
    const anonymous = join(dir.path, 'a.jsonl');
    for (const beside of ['', '.seal']) await rename(`${file}${beside}`, `${anonymous}${beside}`);
    expect(await verify({ target: anonymous })).toEqual([0, expect.stringContaining(`run ${OTHER}`)]);
  });

  it('1 when another installation signed it', async () => {
    expect(await verify({ key: await otherKey() })).toEqual([1, expect.stringContaining('not signed by this key')]);
  });

  it('2 when it cannot be read, or the key cannot', async () => {
    for (const options of [
      { target: join(dir.path, 'none.jsonl') },
      { target: 'rzzzzzzzzzzzz' },
      { target: dir.path },
      { key: join(dir.path, 'none.pub') },
      { key: file },
    ])
      await expect(verify(options), JSON.stringify(options)).rejects.toMatchObject({ code: 'usage' });
  });

  it('2, not 1, when GitHub cannot be asked about a pull request', async () => {
    const server = createServer((_request, response) => response.writeHead(404).end('{}')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048 });
    const settings = {
      GHE_HOST: `127.0.0.1:${port}`,
      GHE_PROTOCOL: 'http',
      APP_ID: '1',
      PRIVATE_KEY: privateKey.export({ type: 'pkcs1', format: 'pem' }).toString(),
    };
    await expect(verify({ target: `http://127.0.0.1:${port}/o/r/pull/7`, settings })).rejects.toThrow(
      expect.objectContaining({
        code: 'usage',
        message: expect.stringContaining('cannot read pull request o/r#7') as string,
      }),
    );
    server.close();
  });

  it('3 when there is no key to check the signature', async () => {
    await rm(publicKeyFile(dir.path));
    expect(await verify()).toEqual([3, expect.stringContaining('signature not checked')]);
  });

  it('4 when there is no seal', async () => {
    await rm(`${file}.seal`);
    expect(await verify()).toEqual([4, expect.stringContaining('there is no seal beside it')]);
  });

  it('what docs/audit.md says', async () => {
    const text = await readFile(join(import.meta.dirname, '../../docs/audit.md'), 'utf8');
    const told = [...text.matchAll(/^\| (\d) +\| (\w+) /gm)].map(([, code, verdict]) => [verdict, Number(code)]);
    expect(Object.fromEntries(told)).toEqual({ ...VERIFY_EXIT, unreadable: 2 });
  });
});

describe('audit show', () => {
  async function shown(): Promise<string> {
    const said: string[] = [];
    await auditShowCommand({ target: file, dataDir: dir.path, stdout: { write: (text) => said.push(text) } });
    return said.join('');
  }

  it('opens a log that is cut or damaged, and says so', async () => {
    const bytes = await readFile(file);
    const whole = await shown();
    expect(whole).not.toMatch(/the seal is of|cut off|line \d+:/);
    await truncate(file, bytes.length - 700);
    expect(await shown()).toMatch(
      /parseTime[^]*the seal is of \d+ lines; \d+ are here\nthe last line is cut off after \d+ bytes\n$/,
    );
    await writeFile(file, bytes.subarray(0, bytes.lastIndexOf(10, -2) + 1));
    expect(await shown()).toMatch(/the seal is of \d+ lines; \d+ are here\n$/);
    await writeFile(file, bytes);
    await appendFile(file, 'and this\n');
    expect(await shown()).toMatch(/line \d+: not JSON\n$/);
    await writeFile(file, bytes.toString().replaceAll(RUN_ID, OTHER));
    expect(await shown()).toMatch(/line 1: belongs to run rbbbbbbbbbbbb\n/);
    await writeFile(`${file}.seal`, '{}');
    expect(await shown()).toContain('\nthe seal is not readable\n');
  });
});
