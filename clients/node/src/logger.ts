// The library's own loggers: `log.info("Message stored", { roomId: "room-375", durationMs: 4 })`.

import { isWritten, theCore } from "./core.js";
import { rounded } from "./metrics.js";
import type { Fields } from "./record.js";
import { merged } from "./values.js";

/** Writes records with a name, which is their `context`, and with fields of its own. Levels are set by the name. */
export class Logger {
  readonly name: string;
  readonly #fields: Fields;

  constructor(name = "", fields: Fields = {}) {
    this.name = name;
    this.#fields = merged(name === "" ? {} : { context: name }, fields);
  }

  /** A logger of the same name with more fields. */
  child(fields: Fields): Logger {
    return new Logger(this.name, merged(this.#fields, fields));
  }

  trace(message: unknown, fields?: Fields): void {
    this.log("trace", message, fields);
  }

  debug(message: unknown, fields?: Fields): void {
    this.log("debug", message, fields);
  }

  info(message: unknown, fields?: Fields): void {
    this.log("info", message, fields);
  }

  warn(message: unknown, fields?: Fields): void {
    this.log("warn", message, fields);
  }

  /** A field `error` that is an Error is written with its stack and causes. */
  error(message: unknown, fields?: Fields): void {
    this.log("error", message, fields);
  }

  fatal(message: unknown, fields?: Fields): void {
    this.log("fatal", message, fields);
  }

  /** Write a record of a level that is told by its name; one that does not exist is info, and the record says so. */
  log(level: unknown, message: unknown, fields?: Fields): void {
    const core = theCore();
    if (isWritten(core, level, this.name))
      core.write(level, message, fields ? merged(this.#fields, fields) : this.#fields);
  }

  /** Run a function and write a record with `durationMs` and `outcome`; what it throws is told, and goes on. */
  async timed<Result>(message: string, run: () => Result | Promise<Result>, fields: Fields = {}): Promise<Result> {
    const startMs = performance.now();
    const tell = (level: string, more: Fields): void =>
      this.log(level, message, { ...merged(fields), ...more, durationMs: rounded(performance.now() - startMs) });
    try {
      const result = await run();
      tell("info", { outcome: "success" });
      return result;
    } catch (error) {
      tell("error", { outcome: "failure", error });
      throw error;
    }
  }
}

/** A logger of this name; it may be asked for before `configure`. */
export function getLogger(name = ""): Logger {
  return new Logger(name);
}
