import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { CommitSha } from '../../src/domain/ids.ts';
import type { HoldSetting } from '../../src/domain/policy.ts';
import { createHarvester } from '../../src/harvest/harvest.ts';
import { holdResult } from '../../src/run/hold.ts';
import type { HeldResults } from '../../src/run/ports.ts';
import { branchFor } from '../../src/command/branch.ts';
import { run, write } from '../git/fixture.ts';
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
  options: { files: () => Record<string, string>; hold?: HoldSetting; agentSummary?: string },
): Execute {
  return async (request, publisher, signal) => {
    const bench = mkdtempSync(join(tmpdir(), 'cofferdam-agent-'));
    try {
      const workspace = join(bench, 'repo');
      const from = request.pull?.branch ?? 'main';
      run(['clone', '-q', '--branch', from, here.shop.gitDir, workspace]);
      const base = CommitSha.parse(run(['rev-parse', 'HEAD'], { cwd: workspace }));
      write(workspace, options.files());
      const spec = specOf(
        request,
        { base },
        { baseRef: from, branch: branchFor(request), hold: options.hold ?? 'protected' },
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
        mirror: { path: here.shop.gitDir, base, baseRef: from, defaultBranch: 'main' },
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
      await publisher.finish({ result: { ...result, ...published }, seal });
      await harvest.dispose();
      const { pull, branch } = published;
      return { state: result.state, branch, ...(pull === undefined ? {} : { pull }) };
    } finally {
      rmSync(bench, { recursive: true, force: true });
    }
  };
}
