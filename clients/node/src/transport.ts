// A Winston transport: what a Winston logger writes becomes records, and goes to Kafka.

import Transport from "winston-transport";
import { Core, isWritten, theCore } from "./core.js";
import { flushOnSigterm } from "./delivery.js";
import type { Metrics } from "./metrics.js";
import { load, type Settings } from "./settings.js";
import { isError, merged, messageOf } from "./values.js";

const LEVEL = Symbol.for("level");
const SPLAT = Symbol.for("splat");

type Info = Record<string | symbol, unknown>;

/**
 * Takes Winston's records to Kafka.
 *
 * With settings it has a delivery of its own, else it uses what `configure` set up. The settings' levels decide, live
 * ones too: Winston's own `level` does not hold back what they let through.
 */
export class KafkaTransport extends Transport {
  readonly #own: Core | undefined;

  constructor(settings?: Partial<Settings>) {
    super();
    if (settings) {
      this.#own = new Core(load(settings));
      flushOnSigterm();
    }
    this.on("pipe", (logger: { levels?: Record<string, number> }) => {
      const [lowest] = Object.entries(logger.levels ?? {}).sort(([, one], [, other]) => other - one);
      if (lowest) this.level = lowest[0];
    });
  }

  override log(info: Info, next: () => void): void {
    const core = this.#own ?? theCore();
    const { level, message, ...fields } = withError(isError(info) ? info : (merged(info) as Info));
    const name = info[LEVEL] ?? level; // `level` may have been coloured
    const logger = typeof fields.context === "string" ? fields.context : "";
    if (isWritten(core, name, logger)) core.write(name, message, fields);
    this.emit("logged", info);
    next();
  }

  metrics(): Metrics | undefined {
    return (this.#own ?? theCore()).metrics();
  }

  /** `logger.end()` waits for it: deliver what there is, within `flushMs`. */
  override _final(done: () => void): void {
    void (this.#own ?? theCore()).close().then(done);
  }
}

/** The fields of what Winston hands over, with the error that is in it under `error`. */
function withError(info: Info): Info {
  if (isError(info)) {
    const { level, stack: _, message: __, ...fields } = merged(info);
    return { ...fields, level, message: messageOf(info), error: info };
  }
  const given = [info[SPLAT]].flat().find(isError);
  const { stack, cause, ...fields } = info as Info;
  // Winston copies an error's stack and cause beside the error that was given.
  if (given && stack === given.stack) return { ...fields, error: given };
  if (isError(info.err) && info.error === undefined) {
    const { err, ...others } = info as Info;
    return { ...others, error: err };
  }
  return info;
}
