import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AuditEntry } from '../../src/domain/audit.ts';
import { machinePaths } from '../../src/local/machine/directory.ts';
import { findRunsc } from '../../src/local/machine/runsc.ts';
import { stateDirectoryOf } from '../../src/sandbox/host-process.ts';
import { execPacket, field } from '../sandbox/kernel-packets.ts';
import { connectPackets } from '../sandbox/packet-client.ts';
import { openBench, python, run, shell } from '../sandbox/real.ts';
import type { Bench } from '../sandbox/real.ts';

let bench: Bench;

beforeAll(async () => {
  bench = await openBench();
});
afterAll(async () => {
  await bench.close();
});

async function recorded() {
  const entries: AuditEntry[] = [];
  const sandbox = await bench.create({ onRecord: (entry) => entries.push(entry) });
  const ofType = (type: string) => entries.filter((entry) => entry.type === type).map(({ data }) => data ?? {});
  const missed = () =>
    ofType('kernel.gap')
      .filter((data) => data['reason'] === 'dropped')
      .reduce((sum, data) => sum + (data['count'] as number), 0);
  return { sandbox, entries, ofType, missed };
}

/** What gVisor itself says that it dropped. */
async function droppedSays(container: string): Promise<number> {
  const [runsc, root] = [await findRunsc(machinePaths()), await stateDirectoryOf(container)];
  if (runsc === undefined || root === undefined) throw new Error('the sandbox’s host process is not to be seen');
  const { stdout } = await promisify(execFile)(runsc.path, ['--root', root, 'trace', 'list', container]);
  return Number(/dropped: (\d+)/i.exec(stdout)?.[1] ?? Number.NaN);
}

describe('AUD-007 a storm of processes', () => {
  it('is recorded in few lines, and whole unless the record says otherwise', async () => {
    const { sandbox, entries, ofType, missed } = await recorded();
    await shell(sandbox, 'for i in $(seq 600); do /bin/true $i; done');
    await sandbox.destroy();
    const singles = ofType('process.start').filter((data) => data['process.executable.path'] === '/usr/bin/true');
    const inBursts = ofType('process.burst').reduce(
      (sum, data) => sum + ((data['commands'] as Record<string, number>)['true'] ?? 0),
      0,
    );
    const seen = singles.length + inBursts;
    // On a machine that is busy with other things gVisor may have had to drop some.
    expect(seen).toBeGreaterThanOrEqual(600 - missed());
    expect(seen).toBeLessThanOrEqual(600);
    expect(entries.length).toBeLessThan(1600);
    expect(entries.at(-1)).toMatchObject({ type: 'kernel.end', data: { complete: missed() === 0 } });
    expect(sandbox.processRecord()).toBe(missed() === 0 ? 'complete' : 'gaps');
  });

  it('with a collector that does not read is a gap with the exact count', async () => {
    const { sandbox, entries, ofType, missed } = await recorded();
    const collector = bench.kernel.collector();
    if (collector === undefined) throw new Error('no collector');
    process.kill(collector, 'SIGSTOP');
    // Each event that is dropped takes a second, so it is not waited for until the collector reads again.
    const storm = shell(sandbox, 'for i in $(seq 12); do (for j in $(seq 5); do /bin/true; done) & done; wait');
    try {
      await expect.poll(() => droppedSays(sandbox.id), { timeout: 200_000 }).toBeGreaterThan(0);
    } finally {
      process.kill(collector, 'SIGCONT');
    }
    expect(await storm).toMatchObject({ exitCode: 0 });
    // Until it has caught up: what comes before that may be dropped, too.
    await expect
      .poll(async () => {
        await run(sandbox, ['/bin/echo', 'caught-up']);
        return JSON.stringify(ofType('process.start')).includes('caught-up');
      })
      .toBe(true);
    const dropped = await droppedSays(sandbox.id);
    await sandbox.destroy();
    expect(missed()).toBeGreaterThanOrEqual(dropped);
    expect(ofType('kernel.end')).toEqual([expect.objectContaining({ missed: missed(), complete: false })]);
    expect(sandbox.processRecord()).toBe('gaps');
    // Nothing was dropped between that count and the last report: the two are the same number.
    expect(missed()).toBe(dropped);
    expect(entries.at(-1)?.type).toBe('kernel.end');
  });

  it('cannot hide a program by the size of its arguments', async () => {
    const { sandbox, ofType, missed } = await recorded();
    const pad = 'x'.repeat(120_000);
    await python(
      sandbox,
      `import subprocess; subprocess.run(["/bin/true", "${pad}", "${pad}"], check=True)`.slice(0, 100_000 * 3),
    );
    await shell(sandbox, 'x=$(head -c 120000 /dev/zero | tr "\\0" a); A=$x B=$x /bin/true');
    await sandbox.destroy();
    expect(missed()).toBeGreaterThan(0);
    expect(ofType('kernel.gap')).toContainEqual(expect.objectContaining({ reason: 'start_unseen' }));
    expect(sandbox.processRecord()).toBe('gaps');
  });
});

describe('AUD-008 whoever is not the kernel of an awaited sandbox', () => {
  const endpoint = path.join(machinePaths().kernel, 'collector.sock');
  const handshake = field(1, 1);

  it('gets no answer', async () => {
    const { sandbox, entries } = await recorded();
    const client = connectPackets(endpoint);
    if (client === undefined) throw new Error('nobody listens');
    client.send(handshake);
    client.send(execPacket(['forged-start'], { container: sandbox.id }));
    expect(client.receive()).toBe('end');
    client.close();
    await shell(sandbox, '/bin/true');
    await sandbox.destroy();
    expect(JSON.stringify(entries)).not.toContain('forged-start');
    expect(entries.at(-1)).toMatchObject({ type: 'kernel.end', data: { complete: true } });
  });

  it.each(['a second connection for a sandbox', 'a connection for a sandbox that is not ours'])(
    'gets no answer: %s',
    async (which) => {
      const { sandbox, entries } = await recorded();
      const id = which.includes('second') ? sandbox.id : 'f'.repeat(64);
      // A process that looks like runsc to everybody who reads its arguments: only root can be one at this socket.
      const client = path.join(import.meta.dirname, '../sandbox/packet-client.ts');
      const packets = path.join(import.meta.dirname, '../sandbox/kernel-packets.ts');
      const script = `const { connectPackets } = await import(${JSON.stringify(client)});
        const { execPacket, field } = await import(${JSON.stringify(packets)});
        const c = connectPackets(${JSON.stringify(endpoint)}); c.send(field(1, 1));
        c.send(execPacket(['forged-start'], { container: ${JSON.stringify(id)} }));
        console.log(String(c.receive()));`;
      const options = ['--input-type=module', '--disable-warning=ExperimentalWarning', '-e', script, 'create', id];
      const child = spawn(process.execPath, options, { argv0: 'runsc', stdio: ['ignore', 'pipe', 'inherit'] });
      const [said] = (await once(child.stdout, 'data')) as [Buffer];
      expect(said.toString('utf8')).toBe('end\n');
      await sandbox.destroy();
      expect(JSON.stringify(entries)).not.toContain('forged-start');
    },
  );

  it('cannot be anybody in a sandbox: the socket is in none', async () => {
    const { sandbox } = await recorded();
    const { text } = await shell(
      sandbox,
      `ls ${path.dirname(endpoint)} 2>&1; find / -name collector.sock 2>/dev/null`,
      'root',
    );
    expect(text).toMatch(/No such file/);
    expect(text).not.toContain('session.json');
    await sandbox.destroy();
  });
});
