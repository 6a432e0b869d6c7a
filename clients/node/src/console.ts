// Lines on stderr: a bounded number in each second, and never in the way of the event loop.

import { write, writeSync } from "node:fs";

const WAITING_MAX = 1_000;
const STDERR = 2;

/** Log lines on stderr, at most `linesPerS`; those beyond are counted. */
export class Console {
  readonly #linesPerS: number;
  #waiting: string[] = [];
  #writing = false;
  #allowed: number;
  #atMs = performance.now();
  hidden = 0;

  constructor(linesPerS: number) {
    this.#linesPerS = linesPerS;
    this.#allowed = linesPerS;
  }

  /** Have a record shown, if so many are allowed. */
  show(record: Buffer): void {
    const nowMs = performance.now();
    this.#allowed = Math.min(this.#linesPerS, this.#allowed + ((nowMs - this.#atMs) * this.#linesPerS) / 1_000);
    this.#atMs = nowMs;
    if (this.#allowed < 1 || this.#waiting.length >= WAITING_MAX) {
      this.hidden += 1;
      return;
    }
    this.#allowed -= 1;
    this.#put(record.toString());
  }

  /** Have a sentence of the library itself shown. */
  say(text: string): void {
    this.#put(`servicelog: ${text}`);
  }

  /** Write what waits, and these records, at the end of the process. */
  showNow(records: readonly Buffer[] = []): void {
    const lines = [...this.#waiting, ...records.map(String)];
    this.#waiting = [];
    try {
      if (lines.length > 0) writeSync(STDERR, `${lines.join("\n")}\n`);
    } catch {
      // stderr may be closed, or nobody's.
    }
  }

  #put(line: string): void {
    this.#waiting.push(line);
    if (!this.#writing) this.#write();
  }

  /** Writing to a pipe blocks while nobody reads it; the pool's threads may wait, the event loop may not. */
  #write(): void {
    const data = Buffer.from(`${this.#waiting.join("\n")}\n`);
    this.#waiting = [];
    this.#writing = true;
    write(STDERR, data, 0, data.length, null, () => {
      this.#writing = false;
      if (this.#waiting.length > 0) this.#write();
    });
  }
}
