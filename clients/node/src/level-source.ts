// Live levels: an HTTP endpoint is asked every few seconds, and what it says counts until it expires.
//
// The answer is `{"levels": {"*": "debug", "app.db": "trace"}, "expiresAt": "2026-11-24T10:00:00Z"}`, with an `ETag`;
// `*` is for all loggers without a level of their own, and without `expiresAt` the answer counts until the next one.
// 404 and 204 say that there is nothing: the configured levels count. So they do after the expiry, whether the endpoint
// answers or not; until then, an endpoint that does not answer changes nothing.

import { readFile } from "node:fs/promises";
import type { Levels } from "./levels.js";
import type { Settings } from "./settings.js";

type Source = Pick<Settings, "levelUrl" | "levelEveryMs" | "levelToken" | "levelTokenFile">;

const TIMEOUT_MS = 2_000;
const ANSWER_CHARS_MAX = 65_536;

/** Asks, and sets the levels. */
export class LevelSource {
  readonly #url: string;
  readonly #everyMs: number;
  readonly #token: string;
  readonly #tokenFile: string;
  readonly #levels: Levels;
  #etag: string | null = null;
  #timer: NodeJS.Timeout | undefined;
  #expiry: NodeJS.Timeout | undefined;
  #stopped = false;
  #failing = false;

  constructor(settings: Source, levels: Levels) {
    this.#url = settings.levelUrl;
    this.#everyMs = settings.levelEveryMs;
    this.#token = settings.levelToken;
    this.#tokenFile = settings.levelTokenFile;
    this.#levels = levels;
  }

  start(): this {
    void this.#run();
    return this;
  }

  /** Ask no more; the configured levels count. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#set({}, undefined);
  }

  async #run(): Promise<void> {
    try {
      await this.#ask();
      this.#failing = false;
    } catch (error) {
      if (!this.#failing) {
        process.emitWarning(
          `servicelog: levels cannot be asked for at ${this.#url}: ${String(error)}. Those in force stay.`,
        );
      }
      this.#failing = true;
    }
    if (!this.#stopped) this.#timer = setTimeout(() => void this.#run(), this.#everyMs).unref();
  }

  async #ask(): Promise<void> {
    const headers: Record<string, string> = this.#etag === null ? {} : { "if-none-match": this.#etag };
    const token = this.#tokenFile === "" ? this.#token : (await readFile(this.#tokenFile, "utf8")).trim();
    if (token !== "") headers["authorization"] = `Bearer ${token}`; // fetch takes it out where it is sent to another host
    const answer = await fetch(this.#url, { headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
    const body = await answer.text();
    if (this.#stopped || answer.status === 304) return;
    if (answer.status === 404 || answer.status === 204) {
      this.#etag = null;
      this.#set({}, undefined);
      return;
    }
    if (answer.status !== 200) throw new Error(`HTTP status ${answer.status}`);
    if (body.length > ANSWER_CHARS_MAX) throw new Error("the answer is too long");
    const said = JSON.parse(body) as { levels: Record<string, string>; expiresAt?: string };
    const expiresMs = said.expiresAt === undefined ? undefined : Date.parse(said.expiresAt);
    if (Number.isNaN(expiresMs)) throw new Error(`expiresAt = ${String(said.expiresAt)} is no time`);
    this.#set(said.levels, expiresMs);
    this.#etag = answer.headers.get("etag");
  }

  #set(byLogger: Record<string, string>, expiresMs: number | undefined): void {
    const leftMs = expiresMs === undefined ? 0 : expiresMs - Date.now();
    this.#levels.setLive(leftMs < 0 ? {} : byLogger);
    clearTimeout(this.#expiry);
    // A timer holds 24 days at most; what lasts longer is asked for again before.
    if (leftMs > 0) this.#expiry = setTimeout(() => this.#levels.setLive({}), Math.min(leftMs, 2 ** 31 - 1)).unref();
  }
}
