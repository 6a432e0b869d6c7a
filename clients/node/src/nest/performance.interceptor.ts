// How long handlers take: percentiles per route, as records and as numbers to ask for.

import type { CallHandler, ExecutionContext, NestInterceptor, OnModuleDestroy } from "@nestjs/common";
import { finalize, type Observable } from "rxjs";
import { isWritten, theCore } from "../core.js";
import { Durations, type Percentiles } from "../metrics.js";
import { type Routed, routeOf } from "./route.js";

const LOGGER = "performance";
const ROUTES_MAX = 1_000;

export interface RouteSummary extends Percentiles {
  method: string;
  route: string;
}

/** Measures from the call of a handler, guards and pipes not included, until its answer is there. */
export class PerformanceInterceptor implements NestInterceptor, OnModuleDestroy {
  readonly #timer: NodeJS.Timeout | undefined;
  #routes = new Map<string, { method: string; route: string; durations: Durations }>();

  /** Writes a record per route every `summaryEveryMs` milliseconds, and begins anew; 0: never. */
  constructor(summaryEveryMs: number) {
    if (summaryEveryMs > 0) this.#timer = setInterval(() => this.writeSummary(), summaryEveryMs).unref();
  }

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const startMs = performance.now();
    const [method, route] = this.#nameOf(context);
    return next.handle().pipe(finalize(() => this.#add(method, route, performance.now() - startMs)));
  }

  /** Of each route since the last written summary: count, p50, p90, p99 and max in milliseconds. */
  summary(): RouteSummary[] {
    return [...this.#routes.values()].map(({ method, route, durations }) => ({
      method,
      route,
      ...durations.summary(),
    }));
  }

  writeSummary(): void {
    const core = theCore();
    const routes = this.summary();
    this.#routes = new Map();
    if (!isWritten(core, "info", LOGGER)) return;
    for (const { method, route, ...numbers } of routes) {
      const message = `${method} ${route}: ${numbers.count} calls, p99 ${numbers.p99} ms`;
      core.write("info", message, { context: LOGGER, event: "performance", method, route, ...numbers });
    }
  }

  onModuleDestroy(): void {
    clearInterval(this.#timer);
    this.writeSummary();
  }

  #nameOf(context: ExecutionContext): [string, string] {
    const handler = `${context.getClass().name}.${context.getHandler().name}`;
    if (context.getType() !== "http") return [context.getType().toUpperCase(), handler];
    const request = context.switchToHttp().getRequest<HttpRequest>();
    return [request.method, routeOf(request) ?? handler];
  }

  #add(method: string, route: string, timeMs: number): void {
    const name = `${method} ${route}`;
    let known = this.#routes.get(name);
    if (known === undefined) {
      if (this.#routes.size >= ROUTES_MAX) return;
      known = { method, route, durations: new Durations() };
      this.#routes.set(name, known);
    }
    known.durations.add(timeMs);
  }
}

interface HttpRequest extends Routed {
  method: string;
}
