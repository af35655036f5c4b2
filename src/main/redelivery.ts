/** Webhook deliveries that GitHub could not hand over while nobody listened are asked for again. */
import { CofferdamError } from '../domain/errors.ts';
import type { GitHub } from '../github/github.ts';
import type { Logger } from '../telemetry/log.ts';

/** As far back as this. */
const BACK_MS = 24 * 3_600_000;
/** At the start the server may not listen yet; and later it may be away without this process. */
const SOON_MS = 60_000;
const EVERY_MS = 3_600_000;

export interface RedeliveryOptions {
  github: Pick<GitHub, 'redeliverFailed'>;
  log: Logger;
  /** After the first time, and between all later ones. */
  soonMs?: number;
  everyMs?: number;
}

/** Asks now, a little later, and then regularly until disposed of; what fails is logged. */
export function startRedelivery({ github, log, soonMs = SOON_MS, everyMs = EVERY_MS }: RedeliveryOptions): Disposable {
  const ask = (): void => void redeliver(github, log);
  ask();
  const soon = setTimeout(ask, soonMs).unref();
  const regularly = setInterval(ask, everyMs).unref();
  return {
    [Symbol.dispose]() {
      clearTimeout(soon);
      clearInterval(regularly);
    },
  };
}

async function redeliver(github: RedeliveryOptions['github'], log: Logger): Promise<void> {
  try {
    const count = await github.redeliverFailed(new Date(Date.now() - BACK_MS));
    if (count > 0) log.info({ count }, 'failed deliveries asked for again');
  } catch (thrown) {
    const code = thrown instanceof CofferdamError ? thrown.code : 'internal';
    log.warn({ code }, 'failed deliveries could not be looked for');
  }
}
