// What the tests share: a way out that keeps records, and waiting for a condition.

import type { Link } from "../src/kafka.js";
import { load, type Settings } from "../src/settings.js";

export type Written = Record<string, unknown>;

/** Stands in for Kafka: takes batches, or does what `fails` says. */
export class FakeLink implements Link {
  readonly attempts: string[][] = [];
  readonly taken: string[] = [];
  fails: ((records: string[]) => Promise<void> | void) | undefined;

  async send(records: readonly Buffer[]): Promise<void> {
    const texts = records.map(String);
    this.attempts.push(texts);
    await this.fails?.(texts);
    this.taken.push(...texts);
  }

  async close(): Promise<void> {}

  get records(): Written[] {
    return this.taken.map((text) => JSON.parse(text) as Written);
  }
}

export function settings(given: Partial<Settings> = {}): Settings {
  return load({ service: "test", kafka: "nowhere:9092", stderr: "never", ...given }, {});
}

/** Wait until a condition holds. */
export async function until(holds: () => boolean | Promise<boolean>, what: string, timeoutMs = 60_000): Promise<void> {
  const endMs = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > endMs) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Numbers that look like chance and are the same in every run: mulberry32. */
export function chance(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}
