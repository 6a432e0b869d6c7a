// Numbers: what became of the records, and how long things take.

/** The state of delivery. Every record that was logged is sent, queued, spilled or dropped. */
export interface Metrics {
  /** Records that were handed over. */
  logged: number;
  /** Records that Kafka has confirmed. */
  sent: number;
  /** Those in memory. */
  queued: number;
  queuedBytes: number;
  /** Those on disk. */
  spilled: number;
  /** Those that were ever written to disk by this process. */
  spilledTotal: number;
  /** Those on disk that an earlier process had left; they are counted as sent, too, when they are. */
  takenOver: number;
  /** By reason: `queue_full`, `spill_full`, `refused`, `closed`. */
  dropped: Readonly<Record<string, number>>;
  /** Whether Kafka does not answer now. */
  kafkaAway: boolean;
  /** The time from sending to Kafka's confirmation. */
  latencyMs: Percentiles;
}

export interface Percentiles {
  count: number;
  p50: number;
  p90: number;
  p99: number;
  max: number;
}

// Classes grow by a quarter from 0.05 ms on: a percentile is at most that much too high, and 80 numbers hold 40 minutes.
const FIRST_MS = 0.05;
const GROWTH = 1.25;
const CLASSES = 80;

/** Times in classes; percentiles are upper bounds of a class, and never above the maximum. */
export class Durations {
  readonly #counts = new Uint32Array(CLASSES);
  #count = 0;
  #maxMs = 0;

  add(timeMs: number): void {
    const place = timeMs <= FIRST_MS ? 0 : Math.ceil(Math.log(timeMs / FIRST_MS) / Math.log(GROWTH));
    const index = Math.min(place, CLASSES - 1);
    this.#counts[index] = (this.#counts[index] ?? 0) + 1;
    this.#count += 1;
    if (timeMs > this.#maxMs) this.#maxMs = timeMs;
  }

  summary(): Percentiles {
    const [p50, p90, p99] = [this.#percentile(0.5), this.#percentile(0.9), this.#percentile(0.99)];
    return { count: this.#count, p50, p90, p99, max: rounded(this.#maxMs) };
  }

  #percentile(part: number): number {
    let seen = 0;
    for (const [index, count] of this.#counts.entries()) {
      seen += count;
      if (count > 0 && seen >= part * this.#count) return rounded(Math.min(FIRST_MS * GROWTH ** index, this.#maxMs));
    }
    return 0;
  }
}

/** To a microsecond. */
export function rounded(timeMs: number): number {
  return Math.round(timeMs * 1_000) / 1_000;
}
