/** Steps of a run, in their order. */
export const STEPS = [
  'mirror',
  'spec',
  'gateway',
  'sandbox',
  'self_test',
  'clone',
  'setup',
  'agent',
  'harvest',
  'verify',
  'publish',
  'destroy',
  'seal',
  'report',
] as const;
export type Step = (typeof STEPS)[number];
