// One call becomes one record: docs/log-format.md, "What the libraries write". Nothing here has a clock or a socket.

import { type Level, written } from "./levels.js";
import { REDACTED, Redaction } from "./redact.js";
import { cut, errorJson, MEMBER_CHARS_MAX, quoted, TEXT_CHARS_MAX, Values } from "./values.js";

export type Fields = Readonly<Record<string, unknown>>;

export interface RecordOptions {
  /** Endings of names whose values are secrets, beside the library's own. */
  redactNames?: readonly string[] | undefined;
  /** Whether e-mail addresses are taken out of texts. */
  redactEmails?: boolean | undefined;
}

export interface Call {
  timestampMs: number;
  level: unknown;
  message: unknown;
  /** What is bound, and then what the call has; a name of both stands where it came first. */
  fields?: Fields | undefined;
  error?: Error | undefined;
  /** Whether the error's stack is written; it is not where it was already. */
  stack?: boolean | undefined;
}

const RECORD_BYTES_MAX = 131_072;
const LEVEL_CHARS_MAX = 64;
const TEXTS = ["context", "requestId", "traceId", "userId", "conversationId", "event", "outcome", "reason"] as const;
const MEMBERS = [...TEXTS, "method", "route", "status", "durationMs"] as const;
const PLACES: ReadonlyMap<string, number> = new Map(MEMBERS.map((name, place) => [name, place]));
const NUMBERS_FROM = MEMBERS.indexOf("status");

/** Writes the records of one service. */
export class RecordWriter {
  readonly #redaction: Redaction;
  readonly #service: string;
  #second = -1;
  #secondText = "";

  constructor(service: string, options: RecordOptions = {}) {
    this.#redaction = new Redaction(options.redactNames, options.redactEmails);
    this.#service = quoted(service.toWellFormed());
  }

  /** Write a record: JSON in UTF-8, of at most 512 KB. */
  write(call: Call): Buffer {
    const values = new Values(this.#redaction);
    const level = written(call.level);
    const message = call.message ?? "";
    const text = values.asText("message", message, TEXT_CHARS_MAX);
    const { members, metadata } = this.#fields(call.fields, values);
    const head = `{"timestamp":"${this.#timestamp(call.timestampMs)}","level":"${level ?? "info"}","service":${this.#service},"message":${quoted(text)}${members}`;
    const error = call.error && values.error(call.error, call.stack);
    const problem = logProblem(level, call.level, values);
    const json = (meta: string, written = error): Buffer =>
      Buffer.from(
        `${head}${written ? `,"error":${errorJson(written)}` : ""}${meta && `,"metadata":${meta}`}${problem}}`,
      );

    let record = json(metadata);
    if (record.length <= RECORD_BYTES_MAX) return record;
    const told = metadata && `{"…":"[${Buffer.byteLength(metadata)} bytes]"}`;
    record = json(told);
    return record.length > RECORD_BYTES_MAX && error ? json(told, { own: error.own, causes: [] }) : record;
  }

  /** The fields that are members, in the contract's order, and all others as metadata. */
  #fields(fields: Fields | undefined, values: Values): { members: string; metadata: string } {
    if (fields === undefined) return { members: "", metadata: "" };
    const found: (string | undefined)[] = [];
    const others: [string, unknown][] = [];
    for (const name of Object.keys(fields)) {
      const value = fields[name];
      const place = PLACES.get(name);
      if (place === undefined) {
        if (value !== undefined) others.push([name, value]);
      } else if (value !== null && value !== undefined) {
        const json = this.#member(name, place, value, values);
        if (json === undefined) others.push([name, value]);
        else found[place] = `,"${name}":${json}`;
      }
    }
    return { members: found.join(""), metadata: others.length > 0 ? values.members(others, { name: "metadata" }) : "" };
  }

  #member(name: string, place: number, value: unknown, values: Values): string | undefined {
    const secret = this.#redaction.isSecret(name);
    if (place >= NUMBERS_FROM) return secret ? undefined : values.number(value);
    return quoted(secret ? REDACTED : values.asText(name, value, MEMBER_CHARS_MAX));
  }

  #timestamp(timestampMs: number): string {
    const second = Math.floor(timestampMs / 1_000);
    if (second !== this.#second) {
      this.#secondText = new Date(second * 1_000).toISOString().slice(0, -4);
      this.#second = second;
    }
    return `${this.#secondText}${String(Math.floor(timestampMs) - second * 1_000).padStart(3, "0")}Z`;
  }
}

function logProblem(level: Level | undefined, given: unknown, values: Values): string {
  if (level !== undefined && values.problem === undefined) return "";
  const text = level === undefined ? cut(values.asText("level", given, TEXT_CHARS_MAX), LEVEL_CHARS_MAX) : "";
  const said = [level === undefined ? `unknown level "${text}"` : undefined, values.problem];
  return `,"logProblem":${quoted(values.text(said.filter((one) => one !== undefined).join("; "), MEMBER_CHARS_MAX))}`;
}
