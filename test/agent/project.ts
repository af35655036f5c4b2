import type { SandboxedAgent } from './sandboxed-agent.ts';
import { fixProject } from '../../src/local/provider/fix-project.ts';
import type { Step } from '../../src/local/provider/fix-project.ts';
import type { Script } from '../../src/local/provider/script.ts';
import { WORKSPACE } from './sandboxed-agent.ts';

const FILES: Record<string, string> = {
  'add.js': 'exports.add = (a, b) => a - b;\n',
  'test.js': 'require("node:assert").equal(require("./add.js").add(1, 2), 3);\nconsole.log("PASS");\n',
  'AGENTS.md': 'This repository says: MARK-OF-AGENTS-MD.\n',
};

/** A small project with a failing test, and the files given, as a repository in the sandbox. */
export async function layProject(agent: SandboxedAgent, files: Record<string, string> = {}): Promise<void> {
  for (const [name, content] of Object.entries({ ...FILES, ...files })) {
    await must(agent, `mkdir -p "$(dirname 'repo/${name}')" && cat > 'repo/${name}'`, content);
  }
  await must(agent, 'cd repo && git init -q && git add -A && git commit -q -m start');
}

async function must(agent: SandboxedAgent, script: string, stdin?: string): Promise<void> {
  const { exitCode, output } = await agent.sh(script, stdin);
  if (exitCode !== 0) throw new Error(`${script}: ${output}`);
}

const FIX: Step[] = [
  { say: 'I look at the code first.' },
  { read: 'add.js' },
  { edit: { path: 'add.js', before: 'a - b', after: 'a + b' } },
  { run: 'node test.js > result.txt' },
  { say: 'The sum is a sum now.' },
];

export function scripted(steps: Step[] = FIX): Script {
  return fixProject({ cwd: WORKSPACE, steps });
}
