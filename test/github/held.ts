import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import type { HoldSetting } from '../../src/domain/policy.ts';
import { createHarvester } from '../../src/harvest/harvest.ts';
import { createRepositories } from '../../src/git/mirror.ts';
import type { ShownFile } from '../../src/domain/shown.ts';
import { steeringOf } from '../../src/main/steering.ts';
import { checkoutCommand, shownLines, type Checkout } from '../../src/run/checkout.ts';
import { deliveredAs } from '../../src/run/held.ts';
import { holdResult } from '../../src/run/hold.ts';
import type { HeldResults, Published } from '../../src/run/ports.ts';
import { branchFor } from '../../src/command/branch.ts';
import { write } from '../git/fixture.ts';
import { execHere } from '../harvest/fixture.ts';
import type { Execute } from './installation.ts';
import { memoryAudit, resultOf, specOf } from './run.ts';
import type { Stage } from './stage.ts';

/**
 * A run whose agent writes these files; the product's own harvest, look at the workflows, decision to hold, and publication.
 * Only the sandbox is replaced.
 */
export function harvesting(
  here: Stage,
  held: () => HeldResults,
  options: { files: (workspace: string) => Record<string, string>; hold?: HoldSetting; agentSummary?: string },
): Execute {
  return async (request, publisher, signal) => {
    const bench = mkdtempSync(join(tmpdir(), 'cofferdam-agent-'));
    try {
      const workspace = join(bench, 'repo');
      const remote = pathToFileURL(here.shop.gitDir).href;
      const { pull } = request;
      const fork =
        pull === undefined || pull.sameRepository
          ? undefined
          : { pull: pull.number, commit: pull.sha, onto: pull.base, ref: `refs/pull/${pull.number}/head` };
      const mirror = await createRepositories({
        dataDir: join(here.dir, 'data'),
        remoteUrl: () => remote,
        allowFile: true,
      }).mirror({
        repository: 'octo-owner/shop',
        ref: fork?.ref ?? pull?.branch ?? 'main',
        ...(fork === undefined ? {} : { fork }),
        signal,
      });
      const { base, since } = mirror;
      const advice = await steeringOf(mirror, { roots: [], allowed: [], signal });
      await checkout({
        remote,
        workspace,
        commit: base,
        ref: fork?.ref,
        shown: advice.advice?.files ?? [],
      });
      write(workspace, options.files(workspace));
      const spec = specOf(
        request,
        { base },
        {
          baseRef: fork?.onto ?? mirror.baseRef,
          branch: branchFor(request),
          hold: options.hold ?? 'protected',
          ...advice,
          ...(fork === undefined || since === undefined ? {} : { fork: { pull: fork.pull, since } }),
        },
      );
      const harvester = createHarvester({
        dataDir: join(here.dir, 'data'),
        identity: { name: 'cofferdam[bot]', email: 'bot@cofferdam.test' },
        knownSecrets: () => [],
        remote: () => pathToFileURL(here.shop.gitDir).href,
      });
      const audit = memoryAudit();
      const trailers: [string, string][] = [['Cofferdam-Run', request.runId]];
      const harvest = await harvester.harvest({
        spec,
        mirror,
        exec: execHere,
        workspace,
        message: () => Promise.resolve({ title: spec.title, body: '', trailers }),
        signal,
      });
      if (harvest === null) throw new Error('nothing changed');
      const { agentSummary } = options;
      const result = resultOf(request, {
        files: harvest.files,
        ...(agentSummary === undefined ? {} : { agentSummary }),
      });
      const facts = await holdResult({ spec, harvest, result, held: held(), audit });
      const seal = await audit.seal({});
      if (facts !== undefined) {
        await held().note(request.runId, { seal });
        await publisher.finish({ result: { ...result, state: 'held', held: facts }, seal });
        await harvest.dispose();
        return { state: 'held' };
      }
      const published = await publisher.publish({ spec, harvest, result, audit, signal });
      await publisher.finish({ result: { ...result, ...deliveredAs(published) }, seal });
      await harvest.dispose();
      return { state: result.state, ...whereOf(published) };
    } finally {
      rmSync(bench, { recursive: true, force: true });
    }
  };
}

/** Where a publication is, for the run's record. */
export function whereOf({ branch, pull }: Published): Pick<Published, 'branch' | 'pull'> {
  return { ...(branch === undefined ? {} : { branch }), ...(pull === undefined ? {} : { pull }) };
}

/** The product's own way to a working tree, here in place of a sandbox. */
async function checkout(wanted: Checkout & { shown: readonly ShownFile[] }): Promise<void> {
  const said: Buffer[] = [];
  const stderr = new Writable({
    write(chunk: Buffer, _encoding, done) {
      said.push(chunk);
      done();
    },
  });
  const { exitCode } = await execHere({
    argv: checkoutCommand(wanted),
    user: 'agent',
    stdin: Readable.from([shownLines(wanted.shown)]),
    stderr,
  });
  if (exitCode !== 0) throw new Error(`no clone: ${Buffer.concat(said).toString('utf8')}`);
}
