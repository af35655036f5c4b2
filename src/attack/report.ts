/** What a battery found, as one page that stands for itself: for whoever reviews whether this may run here. */
import { html, Markup } from '../web/html.ts';
import type { Outcome } from './battery.ts';
import { CLASSES, type AttackClass } from './case.ts';

export interface BatteryResult {
  outcomes: Outcome[];
  /** Of the whole run, beside the cases: the self-test, the record. */
  checks: { name: string; ok: boolean; observed: string }[];
  about: {
    host: string;
    date: string;
    runId: string;
    auditFile: string;
    policy: string;
    policyDigest: string;
    image: string;
    versions: Record<string, string>;
    seconds: number;
  };
}

export interface ClassRow {
  class: AttackClass;
  passed: number;
  failed: number;
  skipped: number;
}

export function byClass(outcomes: readonly Outcome[]): ClassRow[] {
  return (Object.keys(CLASSES) as AttackClass[]).flatMap((name) => {
    const mine = outcomes.filter((outcome) => outcome.class === name);
    const count = (verdict: Outcome['verdict']): number => mine.filter((one) => one.verdict === verdict).length;
    if (mine.length === 0) return [];
    return [{ class: name, passed: count('passed'), failed: count('failed'), skipped: count('skipped') }];
  });
}

/** Nothing failed, and something was shown. */
export function isPassed(result: BatteryResult): boolean {
  const { outcomes, checks } = result;
  return (
    checks.every((check) => check.ok) &&
    outcomes.every(({ verdict }) => verdict !== 'failed') &&
    outcomes.some(({ verdict }) => verdict === 'passed')
  );
}

/** Ours from the first to the last character: nothing that a run said is in it. */
const STYLE = new Markup(`
:root{color-scheme:light dark;--ink:#1c2733;--soft:#5b6b7a;--line:#d9e0e7;--page:#fff;--card:#f6f8fa;--good:#14703c;--bad:#b3261e;--wait:#8a5a00}
@media(prefers-color-scheme:dark){:root{--ink:#e3e9ef;--soft:#9aa9b8;--line:#2c3947;--page:#10161d;--card:#17202a;--good:#5fce8c;--bad:#ff8a80;--wait:#e6b450}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:70rem;margin:0 auto;padding:2rem 1rem 4rem}h1{font-size:1.6rem;margin:0 0 .25rem}h2{font-size:1.15rem;margin:2.25rem 0 .5rem}
p{margin:.35rem 0}.soft{color:var(--soft)}.verdict{font-weight:600}.passed{color:var(--good)}.failed{color:var(--bad)}.skipped{color:var(--wait)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:1rem 0;padding:1rem;background:var(--card);border:1px solid var(--line);border-radius:8px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.45rem .75rem .45rem 0;border-bottom:1px solid var(--line)}
th{font-weight:600;color:var(--soft);font-size:.85rem}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.cases td:first-child{white-space:nowrap;font-variant-numeric:tabular-nums}.cases td:nth-child(3){min-width:19rem}.cases td:nth-child(4){overflow-wrap:anywhere}.cases ul{margin:0;padding-left:1.1rem}
.sum{font-size:1.1rem;margin:1rem 0}
@media(max-width:45rem){.cases thead{display:none}.cases tr{display:block;border-bottom:1px solid var(--line);padding:.6rem 0}.cases td{display:block;min-width:0!important;border:0;padding:.1rem 0}}
`);

const SIGN = { passed: '✓ held', failed: '✗ FAILED', skipped: '– skipped' } as const;

export function reportPage(result: BatteryResult): string {
  const { about, outcomes, checks } = result;
  const passed = isPassed(result);
  const counts = byClass(outcomes);
  const failed = outcomes.filter(({ verdict }) => verdict === 'failed').length;
  const skipped = outcomes.filter(({ verdict }) => verdict === 'skipped').length;
  const sum = `${outcomes.length - failed - skipped} held, ${failed} failed, ${skipped} skipped`;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>Cofferdam: attacks on ${about.host}</title>
        <style>
          ${STYLE}
        </style>
      </head>
      <body>
        <main>
          <h1>Attacks on this host's sandbox</h1>
          <p class="soft">
            Each attack ran in a real sandbox (gVisor) behind the real gateway process, whose resolver and upstream
            hosts were stubs that keep every byte. What went out is judged by the stubs and the gateway's record, never
            by what a program inside believed; what only the inside can see (capabilities, devices) is what the probe
            found. Each attack has a twin: something allowed, from the same place, that had to arrive.
          </p>
          <p class="sum verdict ${passed ? 'passed' : 'failed'}">${passed ? 'Held' : 'FAILED'}: ${sum}</p>
          <p class="soft">${scope(outcomes)}</p>
          <dl>${facts(about)}</dl>
          <h2>By class</h2>
          <table>
            <thead>
              <tr>
                <th>Class</th>
                <th></th>
                <th class="n">held</th>
                <th class="n">failed</th>
                <th class="n">skipped</th>
              </tr>
            </thead>
            <tbody>
              ${counts.map(
                (row) =>
                  html`<tr>
                    <td>${row.class}</td>
                    <td>${CLASSES[row.class]}</td>
                    <td class="n">${row.passed}</td>
                    <td class="n">${row.failed}</td>
                    <td class="n">${row.skipped}</td>
                  </tr>`,
              )}
            </tbody>
          </table>
          ${counts.map((row) => classPart(row.class, outcomes))}
          <h2>Of the whole run</h2>
          <table class="cases">
            <tbody>
              ${checks.map(
                (check) =>
                  html`<tr>
                    <td>${check.name}</td>
                    <td>${check.observed}</td>
                    <td class="verdict ${check.ok ? 'passed' : 'failed'}">${check.ok ? SIGN.passed : SIGN.failed}</td>
                  </tr>`,
              )}
            </tbody>
          </table>
        </main>
      </body>
    </html> `.text;
}

/** What the sum is of: rows that are not here were not tried here. */
export function scope(outcomes: readonly Outcome[]): string {
  const tried = outcomes.filter(({ verdict }) => verdict !== 'skipped').map(({ id }) => id);
  return `${new Set(tried).size} rows of the catalogue were tried here. The others are tests only: docs/attack.md names each, with the test that tries it and why it is not here.`;
}

function facts(about: BatteryResult['about']): Markup[] {
  const rows = {
    host: about.host,
    date: about.date,
    ...about.versions,
    image: about.image,
    policy: `${about.policy}, ${about.policyDigest}`,
    run: about.runId,
    record: about.auditFile,
    took: `${about.seconds} s`,
  };
  return Object.entries(rows).map(
    ([name, value]) =>
      html`<dt>${name}</dt>
        <dd>${value}</dd>`,
  );
}

function classPart(name: AttackClass, outcomes: readonly Outcome[]): Markup {
  return html`<h2>${name}: ${CLASSES[name]}</h2>
    <table class="cases">
      <thead>
        <tr>
          <th>Attack</th>
          <th>As</th>
          <th>What was tried</th>
          <th>What the host saw</th>
          <th>Verdict</th>
        </tr>
      </thead>
      <tbody>
        ${outcomes
          .filter((outcome) => outcome.class === name)
          // They ran in another order: what uses up a limit came last.
          .toSorted((one, other) => one.id.localeCompare(other.id))
          .map(
            (outcome) =>
              html`<tr>
                <td>${outcome.id}</td>
                <td>${outcome.user}</td>
                <td><strong>${outcome.title}</strong><br /><span class="soft">${outcome.tried}</span></td>
                <td>
                  <ul>
                    ${outcome.seen.map((line) => html`<li>${line}</li>`)}${outcome.problems.map((line) => html`<li class="${outcome.verdict}">${line}</li>`)}
                  </ul>
                </td>
                <td class="verdict ${outcome.verdict}">${SIGN[outcome.verdict]}</td>
              </tr>`,
          )}
      </tbody>
    </table>`;
}
