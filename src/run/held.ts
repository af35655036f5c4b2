import type { RunResult } from '../domain/run.ts';
import type { AuditLog, HeldResult, HeldResults, Published, Publisher } from './ports.ts';

/** The part of a publication that belongs to a run's result. */
export function deliveredAs({
  branch,
  head,
  pull,
  patch,
}: Published): Pick<RunResult, 'branch' | 'head' | 'pull' | 'patch'> {
  return {
    head,
    ...(branch === undefined ? {} : { branch }),
    ...(pull === undefined ? {} : { pull }),
    ...(patch === undefined ? {} : { patch }),
  };
}

/**
 * Publishes exactly the commit that was held. May be called again after a crash at any point: what was done is found, and what
 * is published already is not looked at again.
 * Errors: those of `Publisher.publish` and `Publisher.finish`; the result then still waits.
 */
export async function publishHeld(options: {
  store: HeldResults;
  kept: HeldResult;
  /** Speaks for whoever lets the result go. */
  publisher: Publisher;
  audit: Pick<AuditLog, 'append'>;
  signal: AbortSignal;
}): Promise<Published> {
  const { store, kept, publisher, audit, signal } = options;
  const { spec, harvest, result, seal, receipt } = kept;
  if (kept.published !== undefined) return kept.published;
  let published: Published;
  try {
    published = await publisher.publish({ spec, harvest, result, audit, signal });
  } catch (thrown) {
    // Two people may let it go at the same time: who was first has taken the repository away from the other.
    const now = await store.load(spec.runId);
    if (now?.published === undefined) throw thrown;
    return now.published;
  }
  const now: RunResult = { ...result, ...deliveredAs(published) };
  // A run whose worker died before the seal has none to name.
  if (seal !== undefined) await publisher.finish({ result: { ...now, auditHead: seal.head }, seal, receipt });
  await store.note(spec.runId, { published });
  return published;
}
