// What `configure` sets up: one writer, one way out, the levels; every logger comes here.

import { writeSync } from "node:fs";
import { current, isFirstTold } from "./context.js";
import { Delivery, flushOnSigterm } from "./delivery.js";
import type { Link } from "./kafka.js";
import { LevelSource } from "./level-source.js";
import { type Level, Levels, written } from "./levels.js";
import type { Metrics } from "./metrics.js";
import { type Fields, RecordWriter } from "./record.js";
import { load, type Settings } from "./settings.js";
import { isError, merged } from "./values.js";

/** Writes records and hands them on. */
export class Core {
  readonly settings: Settings;
  readonly levels: Levels;
  readonly #writer: RecordWriter;
  readonly #delivery: Delivery | undefined;
  readonly #source: LevelSource | undefined;

  /** A `link` is where records go instead of to Kafka: a test's. */
  constructor(settings: Settings, link?: Link) {
    this.settings = settings;
    this.levels = new Levels(settings.level, settings.levels);
    this.#writer = new RecordWriter(settings.service, settings);
    this.#delivery = settings.kafka || link ? new Delivery(settings, link) : undefined;
    this.#source = settings.levelUrl ? new LevelSource(settings, this.levels).start() : undefined;
  }

  isEnabled(level: Level, logger: string): boolean {
    return this.levels.isEnabled(level, logger);
  }

  /**
   * Write a record of these fields and of what is bound here; never throws. A field `error` that is one is the
   * record's error; its stack is written once in a request.
   */
  write(level: unknown, message: unknown, fields: Fields = {}, timestampMs = Date.now()): void {
    try {
      const { error, ...others } = merged(fields);
      const own = isError(error) ? error : undefined;
      const all = merged(current(), own || error === undefined ? others : { ...others, error });
      const call = { timestampMs, level, message, fields: all };
      const record = this.#writer.write(own ? { ...call, error: own, stack: isFirstTold(own) } : call);
      if (this.#delivery) this.#delivery.send(record);
      else writeSync(process.stderr.fd, `${record}\n`);
    } catch (mistake) {
      mistakes.number += 1;
      if (this.#delivery) process.emitWarning(`servicelog: a record is lost, please report it: ${String(mistake)}`);
    }
  }

  /** What became of the records so far; without Kafka there is nothing to tell. */
  metrics(): Metrics | undefined {
    return this.#delivery?.metrics();
  }

  /** Deliver what there is, for so long at most. */
  async close(flushMs?: number): Promise<void> {
    this.#source?.stop();
    await this.#delivery?.close(flushMs);
  }
}

/** Records that were lost by a mistake of this library: always 0. */
export const mistakes = { number: 0 };

const state: { core: Core } = {
  core: new Core(load({ service: process.env.SERVICELOG_SERVICE || "unknown" }, {})),
};

/** The core that all loggers write to. */
export function theCore(): Core {
  return state.core;
}

/** Make a core the one that all loggers write to; the one before delivers what it has. */
export function use(core: Core): Core {
  const before = state.core;
  state.core = core;
  void before.close();
  return core;
}

/** Set the library up; again, if it was set up already. Throws a SettingsError that says what to set. */
export function configure(settings: Partial<Settings> = {}): Core {
  const core = new Core(load(settings));
  flushOnSigterm();
  return use(core);
}

/** Deliver what there is, for `flushMs` at most. */
export function close(flushMs?: number): Promise<void> {
  return state.core.close(flushMs);
}

/** What became of the records so far. */
export function metrics(): Metrics | undefined {
  return state.core.metrics();
}

/** Whether a level that is given by name is written; one that does not exist counts as info. */
export function isWritten(core: Core, level: unknown, logger: string): boolean {
  return core.isEnabled(written(level) ?? "info", logger);
}
