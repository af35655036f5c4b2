import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatTime, parseTime } from '../src/timer.js';

test('parses one unit', () => {
  assert.equal(parseTime('90s'), 90_000);
  assert.equal(parseTime('2 days'), 172_800_000);
});

test('parses several units', () => {
  assert.equal(parseTime('1h 30m'), 5_400_000);
});

test('refuses nonsense', () => {
  assert.throws(() => parseTime('soon'), RangeError);
});

test('formats hours and minutes', () => {
  assert.equal(formatTime(5_400_000), '1h 30m');
});
