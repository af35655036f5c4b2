import { readFile } from 'node:fs/promises';
import { globSync } from 'node:fs';
import { cruise, type ICruiseResult, type IForbiddenRuleType } from 'dependency-cruiser';
import { beforeAll, describe, expect, it } from 'vitest';

/** The import map: a room may import the rooms of its row, libraries, and Node. A new edge is an architecture decision: see docs/decisions/. */
const allowed: Record<string, string[]> = {
  domain: [],
  policy: ['domain'],
  command: ['domain'],
  telemetry: ['domain'],
  config: ['domain', 'policy'],
  git: ['domain', 'telemetry'],
  audit: ['domain', 'policy', 'telemetry'],
  run: ['domain', 'policy', 'telemetry'],
  queue: ['domain', 'run', 'telemetry'],
  webhook: ['domain', 'command', 'telemetry'],
  sandbox: ['domain', 'policy', 'telemetry'],
  gateway: ['domain', 'policy', 'git', 'telemetry'],
  agent: ['domain', 'policy', 'telemetry'],
  harvest: ['domain', 'policy', 'git', 'telemetry'],
  github: ['domain', 'policy', 'git', 'telemetry'],
  web: ['domain', 'audit', 'telemetry'],
};
/** These put rooms together and may import all of them. */
const composers = ['main', 'cli', 'local', 'attack'];
const pure = ['domain', 'policy', 'command'];

/** Ports are types: a room may name the shape that its consumer declares, since nothing of it exists at run time. */
const typeOnlyPorts = 'src/run/ports.ts';

/** Dangerous primitives and the only places that may import them. */
const quarantine: { module: string; only: string }[] = [
  { module: '^dockerode$', only: '^src/(sandbox/docker\\.ts|local/machine/)' },
  // `attack/inside.ts` runs in the sandbox only; nothing here imports more of it than types.
  {
    module: '^(node:)?child_process$',
    only: '^src/(git/|main/|local/|sandbox/host-process\\.ts|cli/|attack/inside\\.ts$)',
  },
  // The gateway's client in main opens no connection: it reads the host's list of trusted certificates.
  { module: '^(node:)?tls$', only: '^src/(gateway/|local/|attack/|main/gateway-client\\.ts$)' },
  { module: '^(node:)?cluster$', only: '^$' },
];

const rules: IForbiddenRuleType[] = [
  {
    name: 'no-cycles',
    severity: 'error',
    from: {},
    to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } },
  },
  ...Object.entries(allowed).map(([room, targets]): IForbiddenRuleType => ({
    name: `map-${room}`,
    severity: 'error',
    from: { path: `^src/${room}/` },
    to: { path: '^src/', pathNot: [`^src/(${[room, ...targets].join('|')})/`, `^${typeOnlyPorts}$`] },
  })),
  {
    name: 'nobody-imports-composers',
    severity: 'error',
    from: { path: '^src/', pathNot: `^src/(${composers.join('|')})/` },
    to: { path: `^src/(${composers.join('|')})/` },
  },
  {
    name: 'product-without-stand-ins',
    severity: 'error',
    from: { path: '^src/(main|cli)/', pathNot: '^src/(main/cofferdam|cli/(demo|doctor))' },
    to: { path: '^src/local/(github|provider)/' },
  },
  {
    name: 'only-the-battery-is-off-the-internet',
    severity: 'error',
    from: { path: '^src/', pathNot: '^src/(attack/|cli/attack\\.ts$)' },
    to: { path: '^src/attack/' },
  },
  {
    name: 'nobody-else-becomes-a-gateway',
    severity: 'error',
    from: { path: '^src/', pathNot: '^src/(main/gateway-process|attack/gateway-entry)\\.ts$' },
    to: { path: '^src/main/gateway-child\\.ts$' },
  },
  {
    name: 'pure-rooms-do-no-io',
    severity: 'error',
    from: { path: `^src/(${pure.join('|')})/` },
    to: { dependencyTypes: ['core'], pathNot: '^(node:)?(crypto|buffer|url|util|path|punycode)$' },
  },
  ...quarantine.map(({ module, only }): IForbiddenRuleType => ({
    name: `quarantine-${module}`,
    severity: 'error',
    from: { path: '^src/', pathNot: only },
    to: { path: module.replace('^dockerode$', 'node_modules/dockerode/') },
  })),
];

let result: ICruiseResult;

beforeAll(async () => {
  const cruised = await cruise(['src'], {
    ruleSet: { forbidden: rules },
    validate: true,
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
  });
  result = cruised.output as ICruiseResult;
}, 120_000);

describe('the import map', () => {
  it('sees the whole product', () => {
    expect(result.modules.filter((m) => m.source.startsWith('src/')).length).toBeGreaterThan(50);
  });

  it('holds', () => {
    expect(result.summary.violations.map((v) => `${v.rule.name}: ${v.from} → ${v.to}`)).toEqual([]);
  });

  it('lets other rooms take types only from the ports of the run', () => {
    const importers = result.modules.filter((m) => /^src\/(?!run\/|main\/|cli\/|local\/|queue\/)/.test(m.source));
    const values = importers.flatMap((m) =>
      m.dependencies
        .filter((d) => d.resolved === typeOnlyPorts && !d.dependencyTypes.includes('type-only'))
        .map(() => m.source),
    );
    expect(values).toEqual([]);
  });

  it('has a room for every folder and a folder for every room', () => {
    const folders = [...new Set(globSync('src/*/*', { cwd: '.' }).map((p) => p.split('/')[1] ?? ''))];
    expect(folders.filter((f) => ![...Object.keys(allowed), ...composers].includes(f))).toEqual([]);
  });
});

describe('the tree', () => {
  const files = globSync('{src,test}/**/*.{ts,mjs,js}').filter((f) => !f.includes('node_modules'));

  it('never switches certificate checks off', async () => {
    const bad: string[] = [];
    for (const file of files) {
      if (file === 'test/architecture.test.ts') continue;
      if (/rejectUnauthorized:\s*false|NODE_TLS_REJECT_UNAUTHORIZED/.test(await readFile(file, 'utf8'))) bad.push(file);
    }
    expect(bad).toEqual([]);
  });

  it('has no skipped or focused test', async () => {
    const bad: string[] = [];
    for (const file of files.filter((f) => f.startsWith('test/'))) {
      if (/\b(?:it|test|describe)\.(?:skip|only|todo)\(/.test(await readFile(file, 'utf8'))) bad.push(file);
    }
    expect(bad).toEqual([]);
  });
});
