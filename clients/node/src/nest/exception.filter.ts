// Exceptions that nobody caught: told once, with stack and context, and answered as Nest answers them.

import { type ArgumentsHost, Catch } from "@nestjs/common";
import { BaseExceptionFilter } from "@nestjs/core";
import { leftToAccessLine } from "../context.js";
import { isWritten, theCore } from "../core.js";
import { isError, messageOf } from "../values.js";
import { levelOf, statusOf, toldOf } from "./exception.js";
import { ACCESS } from "./request.middleware.js";
import { type Routed, routeOf } from "./route.js";

const LOGGER = "exceptions";

/**
 * Leaves the exception to the request's access line. Where none follows (messages, a request whose client went away, a
 * service without the middleware, access lines that are not written), it writes a record: of level error with the error, its
 * stack and causes; of level warn and without a stack for an HttpException below 500, which is an answer and no mistake.
 * What the service has told with its stack is told without.
 */
@Catch()
export class ExceptionFilter extends BaseExceptionFilter {
  override catch(exception: unknown, host: ArgumentsHost): void {
    const isHttp = host.getType() === "http";
    const level = levelOf(statusOf(exception));
    const core = theCore();
    const isLeft = isHttp && isWritten(core, level, ACCESS) && leftToAccessLine(exception);
    if (!isLeft && isWritten(core, level, LOGGER)) core.write(level, textOf(exception), fieldsOf(exception, host));
    if (isHttp) super.catch(exception, host);
    else throw exception;
  }
}

function fieldsOf(exception: unknown, host: ArgumentsHost): Record<string, unknown> {
  const fields = { context: LOGGER, event: "exception", status: statusOf(exception) };
  if (host.getType() !== "http") return { ...fields, error: exception };
  const request = host.switchToHttp().getRequest<Routed & { method: string }>();
  return { ...fields, method: request.method, route: routeOf(request), ...toldOf(exception) };
}

function textOf(exception: unknown): unknown {
  return isError(exception) ? messageOf(exception) : exception;
}
