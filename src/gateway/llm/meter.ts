import { createParser } from 'eventsource-parser';
import type { Wire } from '../../domain/policy.ts';
import type { Json } from '../../policy/llm/json.ts';
import type { TokenUsage } from '../../policy/llm/prices.ts';
import { chargeSeen, nothingSeen, see, seeWhole, usageSeen } from '../../policy/llm/stream.ts';

/*
 * Reads a copy of an answer for its usage, after the bytes have been passed on. The provider is trusted for what it
 * charges but not for form: whatever cannot be read ends in "no usage", never in an exception or in memory without end.
 */

export interface Meter {
  push(chunk: Buffer): void;
  /** The answer came to its own end. */
  end(): void;
  /** The provider's usage, once the answer has told it in the right place. */
  usage(): TokenUsage | undefined;
  /** Micro-dollars that the provider says it charged, where it says so. */
  told(): number | undefined;
  /** Bytes of text and arguments that came: for an own count. */
  textBytes(): number;
}

export function createMeter(options: { wire: Wire; events: boolean; maxBytes: number }): Meter {
  return options.events ? eventMeter(options) : wholeMeter(options);
}

function eventMeter({ wire, maxBytes }: { wire: Wire; maxBytes: number }): Meter {
  const seen = nothingSeen();
  const decoder = new TextDecoder();
  let sinceEvent = 0;
  // What is left once an event was too large to keep: bytes are counted, nothing is read.
  let blind = false;
  const parser = createParser({
    onEvent: ({ data }) => {
      sinceEvent = 0;
      if (data !== '[DONE]') see(wire, seen, parse(data));
    },
  });
  return {
    push: (chunk) => {
      sinceEvent += chunk.length;
      if (sinceEvent > maxBytes && !blind) {
        blind = true;
        parser.reset();
        seen.usage = undefined;
      }
      if (blind) seen.textBytes += chunk.length;
      else parser.feed(decoder.decode(chunk, { stream: true }));
    },
    end: () => {
      // Some servers leave out the empty line after their last event.
      if (!blind) parser.feed('\n\n');
    },
    usage: () => (blind ? undefined : usageSeen(wire, seen)),
    told: () => (blind ? undefined : chargeSeen(wire, seen)),
    textBytes: () => seen.textBytes,
  };
}

function wholeMeter({ wire, maxBytes }: { wire: Wire; maxBytes: number }): Meter {
  const seen = nothingSeen();
  let chunks: Buffer[] = [];
  let bytes = 0;
  return {
    push: (chunk) => {
      bytes += chunk.length;
      if (bytes <= maxBytes) chunks.push(chunk);
      else chunks = [];
    },
    end: () => {
      if (bytes <= maxBytes) seeWhole(wire, seen, parse(Buffer.concat(chunks).toString('utf8')), bytes);
      chunks = [];
    },
    usage: () => usageSeen(wire, seen),
    told: () => chargeSeen(wire, seen),
    textBytes: () => bytes,
  };
}

function parse(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return null;
  }
}
