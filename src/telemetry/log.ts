import { pino, type DestinationStream, type Logger } from 'pino';

export type { Logger };

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

/** Keys that hold secrets wherever they appear in a log line. Values that are secret for other reasons never reach a logger. */
const REDACTED = ['token', 'apiKey', 'privateKey', 'secret', 'password', 'authorization'];

/**
 * A logger that writes JSON lines to standard error (standard output belongs to the command's own result).
 * Static text plus fields: `log.info({ runId }, 'run started')`.
 */
export function createLogger(options: { level: LogLevel; destination?: DestinationStream }): Logger {
  const paths = REDACTED.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]);
  return pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths, censor: '[redacted]' },
    },
    options.destination ?? pino.destination({ dest: 2, sync: true }),
  );
}
