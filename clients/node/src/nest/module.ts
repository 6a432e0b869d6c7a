// The library as a NestJS module: `LoggerModule.forRoot({ service: "gateway", kafka: "kafka:9092" })`.

import {
  type DynamicModule,
  Inject,
  type MiddlewareConsumer,
  Module,
  type NestModule,
  type OnApplicationShutdown,
  RequestMethod,
} from "@nestjs/common";
import { APP_FILTER, APP_INTERCEPTOR, HttpAdapterHost } from "@nestjs/core";
import { type Core, configure } from "../core.js";
import type { Settings } from "../settings.js";
import { ExceptionFilter } from "./exception.filter.js";
import { NestLogger } from "./logger.service.js";
import { PerformanceInterceptor } from "./performance.interceptor.js";
import { QUIET, RequestMiddleware } from "./request.middleware.js";
import { EVERYWHERE } from "./route.js";

export interface LoggerModuleOptions extends Partial<Settings> {
  /** How often the handlers' percentiles are written; 0: never. A minute by default. */
  summaryEveryMs?: number;
  /** Paths that write no access line unless they fail: health checks. */
  quiet?: readonly string[];
}

/** What `configure` returned: for its `metrics()`. */
export const SERVICELOG = Symbol("servicelog");

@Module({})
export class LoggerModule implements NestModule, OnApplicationShutdown {
  readonly #core: Core;

  constructor(@Inject(SERVICELOG) core: Core) {
    this.#core = core;
  }

  /** Sets the library up, and puts its middleware, interceptor and exception filter around every route. */
  static forRoot({ summaryEveryMs = 60_000, quiet = [], ...settings }: LoggerModuleOptions = {}): DynamicModule {
    return {
      module: LoggerModule,
      global: true,
      providers: [
        { provide: SERVICELOG, useFactory: () => configure(settings) },
        { provide: QUIET, useValue: new Set(quiet) },
        NestLogger,
        { provide: PerformanceInterceptor, useFactory: () => new PerformanceInterceptor(summaryEveryMs) },
        { provide: APP_INTERCEPTOR, useExisting: PerformanceInterceptor },
        {
          provide: APP_FILTER,
          useFactory: (host: HttpAdapterHost) => new ExceptionFilter(host.httpAdapter),
          inject: [HttpAdapterHost],
        },
      ],
      exports: [SERVICELOG, QUIET, NestLogger, PerformanceInterceptor],
    };
  }

  configure(consumer: MiddlewareConsumer): void {
    consumer.apply(RequestMiddleware).forRoutes({ path: EVERYWHERE, method: RequestMethod.ALL });
  }

  /** The last thing that the service does: deliver what there is. */
  async onApplicationShutdown(): Promise<void> {
    await this.#core.close();
  }
}
