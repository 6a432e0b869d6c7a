// What values of any kind are written as: docs/log-format.md, "Values", line by line. Everything here is JSON text.

import { types } from "node:util";
import { isCard, REDACTED, type Redaction } from "./redact.js";

export const TEXT_CHARS_MAX = 8_192;
export const STACK_CHARS_MAX = 16_384;
export const MEMBER_CHARS_MAX = 1_024;
const VALUES_MAX = 10_000;
const ELEMENTS_MAX = 100;
const LEVELS_MAX = 12;
const CAUSES_MAX = 8;
const CARD_MIN = 1e12;
const MORE = "…";
const JSON_REDACTED = JSON.stringify(REDACTED);
const PLAIN = /^[ !#-[\]-~]*$/; // what JSON writes as it is

/** The names on the way to a value, nearest first. */
interface Path {
  readonly name: string | number;
  readonly up?: Path | undefined;
}

/** An error, in parts, each as JSON. */
export interface WrittenError {
  readonly own: string;
  readonly causes: readonly string[];
}

/** Whether a value is an error, of this realm or another. */
export function isError(value: unknown): value is Error {
  try {
    return types.isNativeError(value) || value instanceof Error;
  } catch {
    return false; // a proxy's own code is asked
  }
}

/** Stands for a field that cannot be read: it cannot be serialised either. */
const UNREADABLE = Object.freeze({
  toString: (): string => {
    throw new Error("not to be read");
  },
});

/** An error's message. */
export function messageOf(error: Error): unknown {
  try {
    return error.message;
  } catch {
    return UNREADABLE;
  }
}

/** The fields of several objects, the later ones' winning: a plain copy, whatever their getters do. */
export function merged(...all: readonly object[]): Record<string, unknown> {
  try {
    return Object.assign({}, ...all) as Record<string, unknown>;
  } catch {
    return Object.assign({}, ...all.map(read)) as Record<string, unknown>;
  }
}

function read(fields: object): Record<string, unknown> {
  const copy: Record<string, unknown> = {};
  try {
    for (const name of Object.keys(fields)) {
      try {
        copy[name] = (fields as Record<string, unknown>)[name];
      } catch {
        copy[name] = UNREADABLE;
      }
    }
  } catch {
    copy.fields = UNREADABLE;
  }
  return copy;
}

/** A text of at most so many code points, and a mark that says how many are missing. */
export function cut(text: string, charsMax: number): string {
  if (text.length <= charsMax) return text;
  let chars = 0;
  let end = text.length;
  for (let at = 0; at < text.length; chars += 1) {
    if (chars === charsMax) end = at;
    at += (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
  }
  return chars <= charsMax ? text : `${text.slice(0, end)}${MORE}[+${chars - charsMax} chars]`;
}

/** A text as JSON. */
export function quoted(text: string): string {
  return text.length < 256 && PLAIN.test(text) ? `"${text}"` : JSON.stringify(text);
}

/** An error as JSON. */
export function errorJson({ own, causes }: WrittenError): string {
  return causes.length > 0 ? `{${own},"causes":[${causes.map((cause) => `{${cause}}`).join(",")}]}` : `{${own}}`;
}

/** Writes the values of one record; holds what was counted, and the first problem. */
export class Values {
  readonly #redaction: Redaction;
  readonly #around: object[] = [];
  #written = 0;
  problem: string | undefined;

  constructor(redaction: Redaction) {
    this.#redaction = redaction;
  }

  /** A text: whole, without secrets, cut. */
  text(text: string, charsMax = TEXT_CHARS_MAX): string {
    return cut(this.#redaction.text(text.isWellFormed() ? text : text.toWellFormed()), charsMax);
  }

  /** A value as a JSON number, or undefined if it is not written as one. */
  number(value: unknown): string | undefined {
    if (typeof value !== "number" && typeof value !== "bigint") return undefined;
    const json = typeof value === "number" ? number(value) : this.#integer(value);
    return json.startsWith('"') ? undefined : json;
  }

  /** The text of a member that is a text, whatever its value is. */
  asText(name: string, value: unknown, charsMax: number): string {
    if (typeof value === "string") return this.text(value, charsMax);
    const counted = this.#written;
    this.#written = 0;
    const json = this.#value(value, { name });
    this.#written = counted;
    return this.text(json.startsWith('"') ? String(JSON.parse(json)) : json, charsMax);
  }

  /** An error, and its causes, nearest first. */
  error(error: Error, stacks = true, path: Path = { name: "error" }): WrittenError {
    const own = this.#oneError(error, path, stacks);
    const known = new Set<unknown>([error]);
    const causes: string[] = [];
    for (let cause = causeOf(error); isError(cause) && !known.has(cause) && causes.length < CAUSES_MAX; ) {
      known.add(cause);
      causes.push(this.#oneError(cause, { name: causes.length, up: { name: "causes", up: path } }, stacks));
      cause = causeOf(cause);
    }
    return { own, causes };
  }

  /** The members of an object. */
  members(given: Iterable<readonly [unknown, unknown]>, path: Path): string {
    const written = new Map<string, string>();
    let number = 0;
    for (const [name, value] of given) {
      if (value === undefined) continue;
      number += 1;
      if (number > ELEMENTS_MAX) continue;
      const raw = typeof name === "string" ? name : this.#name(name, path);
      const text = this.text(raw);
      written.set(text, this.#redaction.isSecret(raw) ? JSON_REDACTED : this.#value(value, { name: text, up: path }));
    }
    if (number > ELEMENTS_MAX) written.set(MORE, `"[+${number - ELEMENTS_MAX} members]"`);
    let json = "";
    for (const [name, value] of written) json += `${json === "" ? "" : ","}${quoted(name)}:${value}`;
    return `{${json}}`;
  }

  #oneError(error: Error, path: Path, stacks: boolean): string {
    const type = this.text(typeName(error), MEMBER_CHARS_MAX);
    const message = this.text(this.#string(() => error.message, error, { name: "message", up: path }));
    const own = `"type":${quoted(type)},"message":${quoted(message)}`;
    const stack = stacks ? this.#stack(error) : undefined;
    return stack === undefined ? own : `${own},"stack":${quoted(this.text(stack, STACK_CHARS_MAX))}`;
  }

  #stack(error: Error): string | undefined {
    try {
      return typeof error.stack === "string" ? error.stack : undefined;
    } catch {
      return undefined;
    }
  }

  #value(value: unknown, path: Path): string {
    this.#written += 1;
    if (this.#written > VALUES_MAX) return '"[too many]"';
    switch (typeof value) {
      case "string":
        return quoted(this.text(value));
      case "number":
        return number(value);
      case "boolean":
        return value ? "true" : "false";
      case "undefined":
        return "null";
      case "bigint":
        return this.#integer(value);
      case "object":
        if (value === null) return "null";
        try {
          return this.#object(value, path);
        } catch {
          // The code of others: whatever it throws, the service goes on.
          return quoted(this.#unserialisable(value, path));
        }
      default:
        return quoted(this.text(this.#string(() => value, value, path)));
    }
  }

  #object(value: object, path: Path): string {
    if (value instanceof Date) {
      return quoted(Number.isNaN(value.getTime()) ? String(value) : value.toISOString());
    }
    if (ArrayBuffer.isView(value) || types.isAnyArrayBuffer(value)) return `"[${value.byteLength} bytes]"`;
    if (isError(value)) {
      return this.#around.length === LEVELS_MAX ? '"[too deep]"' : errorJson(this.error(value, true, path));
    }
    if (!isContainer(value)) return quoted(this.text(this.#string(() => value, value, path)));
    if (this.#around.includes(value)) return '"[circular]"';
    if (this.#around.length === LEVELS_MAX) return '"[too deep]"';
    this.#around.push(value);
    const depth = this.#around.length;
    try {
      if (Array.isArray(value)) return this.#elements(value, value.length, path);
      if (value instanceof Set) return this.#elements(value, value.size, path);
      return this.members(value instanceof Map ? value : Object.entries(value), path);
    } finally {
      this.#around.length = depth - 1;
    }
  }

  #elements(elements: Iterable<unknown>, number: number, path: Path): string {
    const written: string[] = [];
    for (const element of elements) {
      if (written.length === ELEMENTS_MAX) break;
      written.push(this.#value(element, { name: written.length, up: path }));
    }
    if (number > ELEMENTS_MAX) written.push(`"[+${number - ELEMENTS_MAX} items]"`);
    return `[${written.join(",")}]`;
  }

  #name(name: unknown, path: Path): string {
    return name instanceof Date && !Number.isNaN(name.getTime())
      ? name.toISOString()
      : this.#string(() => name, name, path);
  }

  #integer(value: bigint): string {
    const digits = value.toString();
    if (isCard(digits)) return JSON_REDACTED;
    const safe = value <= Number.MAX_SAFE_INTEGER && value >= Number.MIN_SAFE_INTEGER;
    return safe ? digits : quoted(cut(digits, TEXT_CHARS_MAX));
  }

  #string(read: () => unknown, of: unknown, path: Path): string {
    try {
      return String(read());
    } catch {
      return this.#unserialisable(of, path);
    }
  }

  #unserialisable(value: unknown, path: Path): string {
    if (this.problem === undefined) {
      const names: (string | number)[] = [];
      for (let rest: Path | undefined = path; rest !== undefined; rest = rest.up) names.unshift(rest.name);
      this.problem = `${names.join(".")} could not be serialised`;
    }
    return this.text(`[unserialisable ${typeName(value)}]`);
  }
}

function causeOf(error: Error): unknown {
  try {
    return error.cause;
  } catch {
    return undefined;
  }
}

function number(value: number): string {
  const text = value === 0 ? "0" : String(value);
  if (value < CARD_MIN && value > -CARD_MIN) return text;
  if (!Number.isFinite(value)) return `"${text}"`;
  return isCard(text) ? JSON_REDACTED : text;
}

/** An array, set, map, or an object that has no text of its own: String would make "[object Object]" of it. */
function isContainer(value: object): boolean {
  if (Array.isArray(value) || value instanceof Set || value instanceof Map) return true;
  const { toString } = value as { toString?: unknown };
  return typeof toString !== "function" || toString === Object.prototype.toString;
}

function typeName(value: unknown): string {
  try {
    const name: unknown = (value as { constructor?: { name?: unknown } } | null)?.constructor?.name;
    return typeof name === "string" && name !== "" ? name : typeof value;
  } catch {
    return typeof value;
  }
}
