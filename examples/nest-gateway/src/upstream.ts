// Calls to the services behind the gateway: with the request's identity, a bound on time, and a record each.

import type { IncomingHttpHeaders } from "node:http";
import { setTimeout as wait } from "node:timers/promises";
import { HttpException, HttpStatus, Injectable } from "@nestjs/common";
import { getLogger, propagation } from "servicelog";

const TIMEOUT_MS = Number(process.env.UPSTREAM_TIMEOUT_S ?? 2) * 1_000;
const ATTEMPTS = 3;
const PAUSE_MS = 50;
// Asked twice, these do what they do once. What was refused was not done: that is repeated, whatever it is. What broke
// off may have been done.
const REPEATABLE: ReadonlySet<string> = new Set(["GET", "PUT"]);
// What of the caller's headers goes on: who asks, from where, and which mistakes are to be tried.
const HANDED_ON = ["authorization", "x-forwarded-for", "x-fault"] as const;

export interface Call {
  upstream: "auth" | "user" | "chat";
  method: "GET" | "POST" | "PUT" | "PATCH";
  /** The path's template, as `/v1/users/{user}`. */
  route: string;
  /** What the template's names stand for. */
  path?: Readonly<Record<string, string>>;
  query?: Readonly<Record<string, string>>;
  body?: unknown;
  headers: IncomingHttpHeaders;
}

@Injectable()
export class Upstream {
  readonly #log = getLogger("Upstream");

  /**
   * Make a call, again where that helps, and return the answer's body. Throws an HttpException: of the service's own
   * status below 500; 504 where it was too slow, else 502.
   */
  async call<Answer>(call: Call): Promise<Answer> {
    const { upstream, method, route } = call;
    for (let attempt = 1; ; attempt += 1) {
      const startMs = performance.now();
      const { status, content, reason } = await ask(call, attempt);
      this.#log.log(reason === undefined ? "info" : "warn", "Upstream called", {
        event: "upstream_call",
        outcome: reason === undefined ? "success" : "failure",
        reason,
        method,
        durationMs: Math.round((performance.now() - startMs) * 1_000) / 1_000,
        upstream,
        upstreamRoute: route,
        upstreamStatus: status,
        attempt,
      });
      if (status !== undefined && reason === undefined) {
        if (status >= 400) throw new HttpException(content as object, status);
        return content as Answer;
      }
      if (attempt === ATTEMPTS || !(REPEATABLE.has(method) || reason === "refused")) {
        const answer = { detail: `${upstream} does not answer as it should` };
        throw new HttpException(answer, reason === "timeout" ? HttpStatus.GATEWAY_TIMEOUT : HttpStatus.BAD_GATEWAY);
      }
      await wait(PAUSE_MS * attempt);
    }
  }
}

interface Answered {
  status?: number;
  content?: unknown;
  reason?: "timeout" | "refused" | "broken" | "status";
}

async function ask({ upstream, method, route, path, query, body, headers }: Call, attempt: number): Promise<Answered> {
  const filled = route.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(path?.[name] ?? ""));
  const url = new URL(filled, address(upstream));
  for (const [name, value] of Object.entries(query ?? {})) url.searchParams.set(name, value);
  const handedOn = HANDED_ON.flatMap((name) => (typeof headers[name] === "string" ? [[name, headers[name]]] : []));
  try {
    const response = await fetch(url, {
      method,
      headers: {
        ...propagation(),
        ...Object.fromEntries(handedOn),
        "x-attempt": String(attempt),
        ...(body !== undefined && { "content-type": "application/json" }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    const content = await response.json();
    return { status: response.status, content, ...(response.status >= 500 && { reason: "status" as const }) };
  } catch (error) {
    return { reason: reasonOf(error) };
  }
}

function reasonOf(error: unknown): "timeout" | "refused" | "broken" {
  if (!(error instanceof Error)) return "broken";
  if (error.name === "TimeoutError") return "timeout";
  return (error.cause as { code?: unknown } | undefined)?.code === "ECONNREFUSED" ? "refused" : "broken";
}

function address(upstream: string): string {
  const name = `${upstream.toUpperCase()}_URL`;
  const url = process.env[name];
  if (!url) throw new Error(`${name} is not set: where is the ${upstream} service?`);
  return url;
}
