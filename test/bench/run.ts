/*
 * `npm run bench -- <name…>`: benchmarks by name, all of them without one. They measure side by side in one run and print
 * ratios: the machine is part of every number. None of them passes or fails by a time; they fail when nothing was measured.
 */

const BENCHES: Record<string, () => Promise<{ bench: () => Promise<void> }>> = {
  audit: () => import('./audit.ts'),
  egress: () => import('./egress.ts'),
  llm: () => import('./llm.ts'),
};

const names = process.argv.slice(2);
const unknown = names.filter((name) => !Object.hasOwn(BENCHES, name));
if (unknown.length > 0) {
  process.stderr.write(`no bench ${unknown.join(', ')}: there are ${Object.keys(BENCHES).join(', ')}\n`);
  process.exit(2);
}
for (const [name, load] of Object.entries(BENCHES)) {
  if (names.length > 0 && !names.includes(name)) continue;
  process.stdout.write(`\n== ${name}\n`);
  const { bench } = await load();
  await bench();
}
process.exit(0);
