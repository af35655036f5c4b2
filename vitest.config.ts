import { defineConfig } from 'vitest/config';

/** Tests that start sandboxes. */
const SANDBOX = [
  'test/e2e/**/*.test.ts',
  'test/integration/{agent-codex,agent-opencode,kernel,machine,registries,sandbox}.test.ts',
  'test/security/{aud-kernel,cra-sandbox,esc,res,tls-clients}.test.ts',
];

// Three lanes: `unit` may run in parallel; `parts` (Redis, git, gateway processes, a browser) and `sandbox` (Docker with gVisor,
// whole runs) share one small machine and run one file at a time each.
const oneByOne = { fileParallelism: false, testTimeout: 300_000, hookTimeout: 300_000 };

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/integration/**', 'test/security/**', 'test/e2e/**'],
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'parts',
          include: ['test/integration/**/*.test.ts', 'test/security/**/*.test.ts'],
          exclude: SANDBOX,
          // A test that starts sandboxes and is not in their lane finds no Docker, instead of sharing it with the other one's tests.
          env: { DOCKER_HOST: 'unix:///nowhere/docker.sock' },
          ...oneByOne,
        },
      },
      { test: { name: 'sandbox', include: SANDBOX, ...oneByOne } },
    ],
  },
});
