// Exceptions that nobody caught: told once, with stack and context, and answered as Nest answers them.

import { type ArgumentsHost, Catch, HttpException } from "@nestjs/common";
import { BaseExceptionFilter } from "@nestjs/core";
import { isWritten, theCore } from "../core.js";
import { isError, messageOf } from "../values.js";
import { type Routed, routeOf } from "./route.js";

const LOGGER = "exceptions";

/**
 * Writes a record of level error with the error, its stack and causes; of level warn and without a stack for an
 * HttpException below 500, which is an answer and no mistake. What the service has told with its stack is told without.
 */
@Catch()
export class ExceptionFilter extends BaseExceptionFilter {
  override catch(exception: unknown, host: ArgumentsHost): void {
    const status = exception instanceof HttpException ? exception.getStatus() : 500;
    const level = status >= 500 ? "error" : "warn";
    const core = theCore();
    if (isWritten(core, level, LOGGER)) core.write(level, textOf(exception), fieldsOf(exception, status, host));
    if (host.getType() === "http") super.catch(exception, host);
    else throw exception;
  }
}

function fieldsOf(exception: unknown, status: number, host: ArgumentsHost): Record<string, unknown> {
  const fields = { context: LOGGER, event: "exception", status };
  if (host.getType() !== "http") return { ...fields, error: exception };
  const request = host.switchToHttp().getRequest<Routed & { method: string }>();
  const inRequest = { ...fields, method: request.method, route: routeOf(request) };
  if (status >= 500 || !isError(exception)) return { ...inRequest, error: exception };
  return { ...inRequest, reason: exception.constructor.name };
}

function textOf(exception: unknown): unknown {
  return isError(exception) ? messageOf(exception) : exception;
}
