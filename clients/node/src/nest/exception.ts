// What records have of an exception that nobody caught. Whatever it is, looking at it throws nothing.

import { HttpException } from "@nestjs/common";
import type { Level } from "../levels.js";

/** What Nest answers it with. */
export function statusOf(exception: unknown): number {
  try {
    if (exception instanceof HttpException) return exception.getStatus();
    const { statusCode, message } = exception as { statusCode?: unknown; message?: unknown }; // as http-errors have
    return typeof statusCode === "number" && message ? statusCode : 500;
  } catch {
    return 500;
  }
}

/** The level of what ended with this status. */
export function levelOf(status: number): Level {
  return status >= 500 ? "error" : status >= 400 ? "warn" : "info";
}

/** The error, with its stack and causes; of an HttpException below 500, which is an answer and no mistake, its class. */
export function toldOf(exception: unknown): Record<string, unknown> {
  try {
    if (exception instanceof HttpException && exception.getStatus() < 500)
      return { reason: exception.constructor.name, detail: exception.message };
  } catch {
    // Then it is told as what it is.
  }
  return { error: exception };
}
