// The six levels, and which of them a logger writes.

export const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"] as const;
export type Level = (typeof LEVELS)[number];

export const RANK: Readonly<Record<Level, number>> = { trace: 0, debug: 1, info: 2, warn: 3, error: 4, fatal: 5 };

const WRITTEN: ReadonlyMap<string, Level> = new Map<string, Level>([
  ...LEVELS.map((level): [string, Level] => [level, level]),
  ["silly", "trace"],
  ["verbose", "debug"],
  ["warning", "warn"],
  ["critical", "fatal"],
  ["http", "info"],
  ["notice", "info"],
]);

/** The name, in levels per logger, of all loggers that have no level of their own. */
export const ROOT = "*";

/** How a level is written, or undefined if there is no such level. */
export function written(level: unknown): Level | undefined {
  return typeof level === "string" ? (WRITTEN.get(level) ?? WRITTEN.get(level.toLowerCase())) : undefined;
}

/** A level by its name; throws a RangeError that names the six if there is none of that name. */
export function levelOf(name: unknown): Level {
  const level = written(name);
  if (level === undefined) {
    throw new RangeError(`no level is called ${JSON.stringify(name)}: use one of ${LEVELS.join(", ")}`);
  }
  return level;
}

/**
 * The lowest level that each logger writes: as configured, and as a level source says for a while.
 *
 * A logger's level is that of the longest dotted name that has one: `app.db` counts for `app.db.pool`. What the source
 * says goes before what is configured, for the same name.
 */
export class Levels {
  readonly #configured: Map<string, Level>;
  #live = new Map<string, Level>();
  #known = new Map<string, number>();

  constructor(byDefault: string, byLogger: Readonly<Record<string, string>> = {}) {
    this.#configured = read({ ...byLogger, [ROOT]: byDefault });
  }

  /** Take what a level source says; an empty object is the end of it. Throws a RangeError, and changes nothing. */
  setLive(byLogger: Readonly<Record<string, string>>): void {
    this.#live = read(byLogger);
    this.#known.clear();
  }

  isEnabled(level: Level, logger: string): boolean {
    let lowest = this.#known.get(logger);
    if (lowest === undefined) {
      lowest = RANK[this.#levelFor(logger)];
      if (this.#known.size >= KNOWN_MAX) this.#known.clear();
      this.#known.set(logger, lowest);
    }
    return RANK[level] >= lowest;
  }

  /** Every name that has a level of its own, with `*` for the rest. */
  named(): Record<string, Level> {
    return Object.fromEntries([...this.#configured, ...this.#live]);
  }

  #levelFor(logger: string): Level {
    for (let name = logger; name !== ""; name = name.slice(0, Math.max(0, name.lastIndexOf(".")))) {
      const level = this.#live.get(name) ?? this.#configured.get(name);
      if (level !== undefined) return level;
    }
    return this.#live.get(ROOT) ?? this.#configured.get(ROOT) ?? "info";
  }
}

const KNOWN_MAX = 4_096;

function read(byLogger: Readonly<Record<string, string>>): Map<string, Level> {
  return new Map(Object.entries(byLogger).map(([name, level]) => [name, levelOf(level)]));
}
