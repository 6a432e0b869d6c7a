// The cases of clients/vectors, with the values that JSON does not have.

import { readFileSync } from "node:fs";

export interface Case {
  name: string;
  now: string;
  service: string;
  config?: { redact_names?: string[]; redact_emails?: boolean };
  bound?: Record<string, unknown>;
  call: { level: unknown; message: unknown; fields?: unknown; error?: unknown };
  record: unknown;
}

export const CASES: Case[] = JSON.parse(readFileSync(new URL("../../vectors/records.json", import.meta.url), "utf8"));

/** The text that must be written. */
export function recordOf(one: Case): string {
  return (Array.isArray(one.record) ? one.record : [one.record]).map((piece) => value(piece)).join("");
}

const MADE: Record<string, (written: never) => unknown> = {
  $date: (text: string) => new Date(/(?:Z|[+-]\d\d:\d\d)$/.test(text) ? text : `${text}Z`),
  $int: (text: string) => BigInt(text),
  $float: (text: string) => Number(text),
  $bytes: (length: number) => Buffer.alloc(length),
  $set: (elements: unknown[]) => new Set(elements.map((one) => value(one))),
  $map: (pairs: [unknown, unknown][]) => new Map(pairs.map(([key, one]) => [value(key), value(one)])),
  $repeat: ([text, times, rest]: [string, number, string?]) => text.repeat(times) + (rest ?? ""),
  $items: (length: number) => Array.from({ length }, (_, index) => index),
  $members: (length: number) => Object.fromEntries(Array.from({ length }, (_, index) => [`k${index}`, index])),
  $deep: (levels: number) => Array.from({ length: levels }).reduce<unknown>((inner) => ({ d: inner }), 1),
  $surrogate: () => "a\ud800b",
  $undefined: () => undefined,
  $raises: raises,
  $error: error,
};

/** A value of a case. */
export function value(written: unknown, around?: unknown): unknown {
  if (Array.isArray(written)) {
    const made: unknown[] = [];
    for (const one of written) made.push(value(one, around));
    return made;
  }
  if (typeof written !== "object" || written === null) return written;
  const [[name, inner] = ["", undefined], ...more] = Object.entries(written);
  if (name === "$circular") return around;
  const make = more.length === 0 ? MADE[name] : undefined;
  if (make) return make(inner as never);
  const made: Record<string, unknown> = {};
  for (const [key, one] of Object.entries(written)) made[key] = value(one, made);
  return made;
}

function raises(name: string): object {
  const Broken = { [name]: class {} }[name] as new () => object;
  Broken.prototype.toString = () => {
    throw new Error("no text");
  };
  return new Broken();
}

interface ErrorParts {
  type: unknown;
  message: unknown;
  stack?: unknown;
  cause?: unknown;
}

function error(parts: ErrorParts): Error {
  const type = String(value(parts.type));
  const Named = { [type]: class extends Error {} }[type] as new () => Error;
  const made = new Named();
  Object.defineProperty(made, "message", { value: value(parts.message) });
  Object.defineProperty(made, "stack", { value: value(parts.stack) });
  made.cause = parts.cause === "self" ? made : value(parts.cause);
  return made;
}
