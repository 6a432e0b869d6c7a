// How the library is set: from code, then from the environment, then by default.

import type { ConnectionOptions as TlsOptions } from "node:tls";
import type { SASLOptions } from "@platformatic/kafka";
import { levelOf } from "./levels.js";

export interface Settings {
  /** Who writes. */
  service: string;
  /** `host:port` of Kafka, several with commas; empty: records go to stderr alone. */
  kafka: string;
  /** Where to. */
  topic: string;
  /** The lowest level that is written. */
  level: string;
  /** Those of single loggers, by dotted name: `{ "app.db": "debug" }`. */
  levels: Readonly<Record<string, string>>;
  /** What gives way when the queue is full: the oldest record, the newest, or none while there is room on disk. */
  whenFull: "oldest" | "newest" | "spill";
  /** Bound on the records in memory. */
  queueBytesMax: number;
  /** Where records wait on disk: a folder that outlives the process, and that no other process uses. */
  spillFolder: string;
  spillBytesMax: number;
  /** How long the end of the process waits for Kafka. */
  flushMs: number;
  /** When lines are also on stderr: while Kafka is `away`, `always` or `never`. */
  stderr: "away" | "always" | "never";
  stderrLinesPerS: number;
  /** Endings of names whose values are secrets, beside the library's own. */
  redactNames: readonly string[];
  /** Whether e-mail addresses are taken out of texts. */
  redactEmails: boolean;
  /** Where levels are asked for, `http://…/v1/levels/chat-service`; empty: nowhere. */
  levelUrl: string;
  levelEveryMs: number;
  /** What is sent there as `Authorization: Bearer …`; or the file that holds it, which is read each time. */
  levelToken: string;
  levelTokenFile: string;
  compression: "lz4" | "snappy" | "gzip" | "none";
  tls?: TlsOptions;
  sasl?: SASLOptions;
}

const DEFAULTS: Settings = {
  service: "",
  kafka: "",
  topic: "logs",
  level: "info",
  levels: {},
  whenFull: "oldest",
  queueBytesMax: 32 * 2 ** 20,
  spillFolder: "",
  spillBytesMax: 256 * 2 ** 20,
  flushMs: 5_000,
  stderr: "away",
  stderrLinesPerS: 200,
  redactNames: [],
  redactEmails: false,
  levelUrl: "",
  levelEveryMs: 2_000,
  levelToken: "",
  levelTokenFile: "",
  compression: "lz4",
};

const CHOICES = {
  whenFull: ["oldest", "newest", "spill"],
  stderr: ["away", "always", "never"],
  compression: ["lz4", "snappy", "gzip", "none"],
} as const;
const NAMES = [...Object.keys(DEFAULTS), "tls", "sasl"];

/** A setting that cannot be used; the message says which, and what would do. */
export class SettingsError extends Error {
  override readonly name = "SettingsError";
}

/** Put the settings together. Throws a SettingsError for what is unknown, of the wrong kind, or missing. */
export function load(given: Partial<Settings> = {}, environment: NodeJS.ProcessEnv = process.env): Settings {
  const fromCode = Object.entries(given).filter(([, value]) => value !== undefined);
  const unknown = fromCode.map(([name]) => name).filter((name) => !NAMES.includes(name));
  if (unknown.length > 0) {
    throw new SettingsError(`no setting is called ${unknown.join(", ")}; there are ${NAMES.join(", ")}`);
  }
  const settings: Settings = { ...DEFAULTS, ...fromEnvironment(environment), ...Object.fromEntries(fromCode) };
  check(settings);
  return settings;
}

function check(settings: Settings): void {
  for (const [name, kind] of Object.entries(DEFAULTS)) {
    const value: unknown = settings[name as keyof Settings];
    if (typeof value !== typeof kind || Array.isArray(value) !== Array.isArray(kind) || value === null) {
      throw new SettingsError(`${name} = ${JSON.stringify(value)}: it must be of the kind ${kindOf(kind)}`);
    }
  }
  if (settings.service === "") {
    throw new SettingsError("service is not set: name it in configure({ service: … }) or in SERVICELOG_SERVICE");
  }
  for (const [name, choices] of Object.entries(CHOICES)) {
    const value = settings[name as keyof typeof CHOICES];
    if (!(choices as readonly string[]).includes(value)) {
      throw new SettingsError(`${name} = ${JSON.stringify(value)}: use one of ${choices.join(", ")}`);
    }
  }
  for (const name of ["queueBytesMax", "spillBytesMax", "stderrLinesPerS", "levelEveryMs"] as const) {
    if (!(settings[name] > 0)) throw new SettingsError(`${name} = ${settings[name]}: it must be more than 0`);
  }
  if (settings.levelToken !== "" && settings.levelTokenFile !== "") {
    throw new SettingsError("levelToken and levelTokenFile are both set: give one of the two");
  }
  if (settings.whenFull === "spill" && settings.spillFolder === "") {
    throw new SettingsError('whenFull = "spill" needs spillFolder: a folder that outlives the process');
  }
  for (const level of [settings.level, ...Object.values(settings.levels)]) {
    try {
      levelOf(level);
    } catch (error) {
      throw new SettingsError((error as RangeError).message);
    }
  }
}

function fromEnvironment(environment: NodeJS.ProcessEnv): Partial<Settings> {
  const found: Record<string, unknown> = {};
  for (const [name, kind] of Object.entries(DEFAULTS)) {
    const variable = `SERVICELOG_${name.replace(/[A-Z]/g, "_$&").toUpperCase()}`;
    const text = environment[variable];
    if (text !== undefined) found[name] = read(variable, text, kind);
  }
  return found;
}

/** A setting from the environment: lists with commas, tables as `name=value` with commas. */
function read(variable: string, text: string, kind: unknown): unknown {
  const parts = text.split(",").filter((part) => part !== "");
  if (typeof kind === "string") return text;
  if (Array.isArray(kind)) return parts;
  if (typeof kind === "object") return Object.fromEntries(parts.map((part) => part.split("=", 2)));
  const value = typeof kind === "number" ? Number(text) : { true: true, 1: true, false: false, 0: false }[text];
  if (value === undefined || Number.isNaN(value))
    throw new SettingsError(`${variable} = "${text}" is no ${typeof kind}`);
  return value;
}

function kindOf(value: unknown): string {
  return Array.isArray(value) ? "array" : typeof value;
}
