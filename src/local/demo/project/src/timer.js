import ms from 'ms';

/** Parses what a person writes, such as "90s", "1h 30m" or "2 days", to milliseconds. */
export function parseTime(text) {
  const value = ms(text);
  if (value === undefined) throw new RangeError(`not a time: ${text}`);
  return value;
}

/** Milliseconds as people write them: "1h 30m". */
export function formatTime(milliseconds) {
  const minutes = Math.round(milliseconds / 60_000);
  const hours = Math.floor(minutes / 60);
  return hours > 0 ? `${hours}h ${minutes % 60}m` : `${minutes}m`;
}
