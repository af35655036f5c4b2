import { Writable } from 'node:stream';

/** Keeps the last bytes of a stream and counts the rest: output of commands is hostile in amount and in content. */
export class Tail extends Writable {
  readonly #limit: number;
  #chunks: Buffer[] = [];
  #kept = 0;
  bytes = 0;

  constructor(limit: number) {
    super();
    this.#limit = limit;
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.bytes += chunk.length;
    this.#chunks.push(chunk);
    this.#kept += chunk.length;
    while (this.#kept - (this.#chunks[0]?.length ?? 0) >= this.#limit) this.#kept -= this.#chunks.shift()?.length ?? 0;
    done();
  }

  text(): string {
    const all = Buffer.concat(this.#chunks);
    return all.subarray(Math.max(0, all.length - this.#limit)).toString('utf8');
  }
}
