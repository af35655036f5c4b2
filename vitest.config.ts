import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Tests that start sandboxes. */
const SANDBOX = [
  'test/e2e/**/*.test.ts',
  'test/integration/{agent-codex,agent-opencode,kernel,machine,registries,sandbox}.test.ts',
  'test/security/{aud-kernel,cra-sandbox,esc,res,tls-clients}.test.ts',
];

/** The longest of a lane that runs several files at once: one that began last would run alone at the end. */
const LONGEST = [
  'e2e/crash',
  'e2e/limits',
  'integration/registries',
  'e2e/app',
  'e2e/injection',
  'integration/agent-opencode',
  'security/aud-kernel',
  'e2e/compose',
  'e2e/run',
  'security/tls-clients',
  'security/res',
].map((name) => `/test/${name}.test.ts`);

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const found = LONGEST.findIndex((name) => moduleId.endsWith(name));
      return found === -1 ? LONGEST.length : found;
    };
    return (await super.sort(files)).toSorted((one, other) => rank(one) - rank(other));
  }
}

// Three lanes that run beside each other: `unit` may run in parallel; `parts` (Redis, git, gateway processes, a browser) runs one file at a time; `sandbox`
// (Docker with gVisor, whole runs) waits half of its time, so it runs two.
const patient = { testTimeout: 300_000, hookTimeout: 300_000 };

/** What is waited for comes on a busy machine, too: vitest's own second is none. */
const expectation = { poll: { timeout: 60_000 } };

export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/integration/**', 'test/security/**', 'test/e2e/**'],
          // Some start the product, and two other lanes run beside them.
          testTimeout: 120_000,
          expect: expectation,
        },
      },
      {
        test: {
          name: 'parts',
          include: ['test/integration/**/*.test.ts', 'test/security/**/*.test.ts'],
          exclude: SANDBOX,
          // A test that starts sandboxes and is not in their lane finds no Docker, instead of sharing it with the other one's tests.
          env: { DOCKER_HOST: 'unix:///nowhere/docker.sock' },
          fileParallelism: false,
          expect: expectation,
          ...patient,
        },
      },
      { test: { name: 'sandbox', include: SANDBOX, maxWorkers: 2, expect: expectation, ...patient } },
    ],
  },
});
