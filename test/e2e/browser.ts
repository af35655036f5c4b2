import { chromium, type Browser } from 'playwright-core';
import { findProgram, installPrograms } from '../../src/local/machine/packages.ts';

/** It is here for these pages and speaks to nobody else. */
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Starts headless Chromium; where it is not installed, Debian's is. */
export async function browser(): Promise<Browser> {
  const name = 'chromium-headless-shell';
  if ((await findProgram(name)) === undefined) await installPrograms(['browser']);
  return chromium.launch({ executablePath: (await findProgram(name)) ?? name, args: FLAGS });
}
