// Nest's logger: what `new Logger("Rooms").log(…)` writes anywhere in the service becomes a record.

import type { LoggerService, LogLevel } from "@nestjs/common";
import { wasTold } from "../context.js";
import { isWritten, theCore } from "../core.js";
import { isError, merged, messageOf } from "../values.js";

type Fields = Record<string, unknown>;

/** For `app.useLogger(app.get(NestLogger))`. The last text of a call is its context, as Nest has it. */
export class NestLogger implements LoggerService {
  log(message: unknown, ...more: unknown[]): void {
    this.#write("info", message, more);
  }

  error(message: unknown, ...more: unknown[]): void {
    this.#write("error", message, more);
  }

  warn(message: unknown, ...more: unknown[]): void {
    this.#write("warn", message, more);
  }

  debug(message: unknown, ...more: unknown[]): void {
    this.#write("debug", message, more);
  }

  verbose(message: unknown, ...more: unknown[]): void {
    this.#write("verbose", message, more);
  }

  fatal(message: unknown, ...more: unknown[]): void {
    this.#write("fatal", message, more);
  }

  /** Levels are set by `configure`, and live. */
  setLogLevels(_: LogLevel[]): void {}

  #write(level: string, message: unknown, more: unknown[]): void {
    // Nest logs what its own filter answers with 500; the filter of this library has told it already.
    if (isError(message) && wasTold(message)) return;
    const { fields, texts } = sorted(more);
    const context = texts.at(-1);
    const core = theCore();
    if (!isWritten(core, level, context ?? "")) return;
    const own: Fields = context === undefined ? {} : { context };
    if (isError(message)) core.write(level, messageOf(message), { ...own, ...fields, error: message });
    else if (isPlain(message)) {
      const { message: text, msg, ...others } = merged(message);
      core.write(level, text ?? msg ?? "", { ...own, ...others, ...fields });
    } else core.write(level, message, { ...own, ...fields });
  }
}

/** What stands behind the message: objects are fields, an error is one, and so is a stack that is given as a text. */
function sorted(more: readonly unknown[]): { fields: Fields; texts: string[] } {
  const fields: Fields = {};
  const texts: string[] = [];
  const others: unknown[] = [];
  for (const one of more) {
    if (isError(one)) fields.error = one;
    else if (typeof one === "string" && /\n\s+at /.test(one)) fields.error = stacked(one);
    else if (typeof one === "string") texts.push(one);
    else if (isPlain(one)) Object.assign(fields, merged(one));
    else if (one !== undefined) others.push(one);
  }
  const args = [...texts.slice(0, -1), ...others];
  return { fields: args.length > 0 ? { ...fields, args } : fields, texts };
}

function stacked(stack: string): Error {
  const [first = ""] = stack.split("\n", 1);
  const error = new Error(first.replace(/^[A-Za-z]*(?:Error|Exception): /, ""));
  error.stack = stack;
  return error;
}

function isPlain(value: unknown): value is Fields {
  try {
    return (
      typeof value === "object" && value !== null && [Object.prototype, null].includes(Object.getPrototypeOf(value))
    );
  } catch {
    return false; // a proxy's own code is asked
  }
}
