import { describe } from 'vitest';
import { createMemoryLedger } from '../../src/run/ledger.ts';
import { ledgerConformance } from '../conformance/ledger.ts';

describe('ledger in memory', () => {
  ledgerConformance(() => Promise.resolve(createMemoryLedger()), { runs: 400 });
});
