// Around each request: its ID is bound, returned, and one access line is written when the response is over.

import { AsyncResource } from "node:async_hooks";
import type { IncomingMessage, ServerResponse } from "node:http";
import { Inject, Injectable, type NestMiddleware } from "@nestjs/common";
import { type Ending, only, REQUEST_ID, takenOver } from "../context.js";
import { isWritten, theCore } from "../core.js";
import { rounded } from "../metrics.js";
import { levelOf, statusOf, toldOf } from "./exception.js";
import { type Routed, routeOf } from "./route.js";

interface Request extends IncomingMessage, Routed {
  originalUrl?: string;
}

/** The logger of the access lines. */
export const ACCESS = "access";

/** The paths that write nothing unless they fail. */
export const QUIET = Symbol("servicelog quiet");

/**
 * Binds `requestId` (of X-Request-ID, else of traceparent, else a UUIDv7) and `traceId` for all that the request begins.
 *
 * The access line is of level info, warn where the status is 4xx or the client went away, error where it is 5xx. It has
 * `method`, `route` (the template; where no route fits, `metadata.path`), `status`, `durationMs`, and in `metadata` the
 * body's `bytes` and the `client`'s address. The query is not written. An exception that nobody caught is told in it: with
 * `error`, its stack and causes; below 500, where it is an answer and no mistake, with its class as `reason`.
 */
@Injectable()
export class RequestMiddleware implements NestMiddleware {
  readonly #quiet: ReadonlySet<string>;

  constructor(@Inject(QUIET) quiet: ReadonlySet<string>) {
    this.#quiet = quiet;
  }

  use(request: Request, response: ServerResponse, next: () => void): void {
    const startMs = performance.now();
    const fields = takenOver(request.headers);
    response.setHeader(REQUEST_ID, fields.requestId);
    const ending: Ending = { isTold: false };
    const serve = (): void => {
      let bytes = 0;
      const counted =
        <Args extends unknown[], Result>(write: (...args: Args) => Result) =>
        (...args: Args): Result => {
          bytes += sizeOf(args[0]);
          return write.apply(response, args);
        };
      response.write = counted(response.write) as typeof response.write;
      response.end = counted(response.end) as typeof response.end;
      // The event comes from the socket, outside of the request: what is bound by then is taken along.
      const over = (): void => {
        const isGood = response.headersSent && response.statusCode < 400 && ending.thrown === undefined;
        ending.isTold = true;
        if (!isGood || !this.#quiet.has(pathOf(request)))
          tell(request, response, rounded(performance.now() - startMs), bytes, ending.thrown);
      };
      response.once("close", AsyncResource.bind(over));
      next();
    };
    only(fields, serve, ending);
  }
}

function tell(
  request: Request,
  response: ServerResponse,
  durationMs: number,
  bytes: number,
  thrown: Ending["thrown"],
): void {
  const status = response.headersSent ? response.statusCode : undefined;
  const finished = response.writableFinished;
  // Of an exception behind the first bytes of the answer, the status says nothing.
  const ended = levelOf(Math.max(status ?? 0, thrown ? statusOf(thrown.exception) : 0));
  const level = ended === "info" && !finished ? "warn" : ended;
  const core = theCore();
  if (!isWritten(core, level, ACCESS)) return;
  const { method = "" } = request;
  const route = routeOf(request);
  const path = pathOf(request);
  core.write(level, `${method} ${route ?? path} ${finished ? status : "no response"}`, {
    context: ACCESS,
    method,
    route,
    status,
    durationMs,
    bytes,
    client: request.socket.remoteAddress,
    ...(thrown && toldOf(thrown.exception)),
    // Where no route fits, Nest's exception has the whole URL in its text.
    ...(route === undefined && { path, detail: undefined }),
  });
}

function pathOf(request: Request): string {
  const [path = ""] = (request.originalUrl ?? request.url ?? "").split("?", 1);
  return path;
}

function sizeOf(chunk: unknown): number {
  if (typeof chunk === "string") return Buffer.byteLength(chunk);
  return ArrayBuffer.isView(chunk) ? chunk.byteLength : 0;
}
