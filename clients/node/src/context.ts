// What is bound to the work at hand, and a request's identity from one service to the next.
//
// `X-Request-ID` carries the request ID, W3C's `traceparent` the trace. An ID that comes in is taken over where it
// looks like one; else the trace's ID is the request's; else there is a new one.

import { AsyncLocalStorage } from "node:async_hooks";
import { randomBytes } from "node:crypto";
import type { Fields } from "./record.js";
import { merged } from "./values.js";

export const REQUEST_ID = "x-request-id";
export const TRACEPARENT = "traceparent";

interface Work {
  fields: Fields;
  /** Errors whose stack was written already. */
  readonly told: WeakSet<Error>;
  readonly ending?: Ending | undefined;
}

/** How a request ends: whether its access line is written already, and the exception that this is to tell. */
export interface Ending {
  isTold: boolean;
  thrown?: { readonly exception: unknown };
}

const ID = /^[A-Za-z0-9_.:/+=@-]{1,128}$/;
const TRACE_ID = /^[0-9a-f]{32}$/;
const TRACE = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?$/;

const NOTHING: Fields = Object.freeze({});
const storage = new AsyncLocalStorage<Work>();

/** The fields that are bound here; not to be changed. */
export function current(): Fields {
  return storage.getStore()?.fields ?? NOTHING;
}

/** Bind fields for the rest of the work that is under way: a request, or a `bound`. Null as a value takes one away. */
export function bind(fields: Fields): void {
  const work = storage.getStore();
  if (work) work.fields = merged(work.fields, fields);
}

/** Run a function with fields that are bound for it, and for all that it begins. */
export function bound<Result>(fields: Fields, run: () => Result): Result {
  const { told = new WeakSet(), ending } = storage.getStore() ?? {};
  return storage.run({ fields: merged(current(), fields), told, ending }, run);
}

/** Run a function with these fields alone: a new request. */
export function only<Result>(fields: Fields, run: () => Result, ending?: Ending): Result {
  return storage.run({ fields: merged(fields), told: new WeakSet(), ending }, run);
}

/** Leave an exception to the access line of the request at hand; false where none will come, or has one already. */
export function leftToAccessLine(exception: unknown): boolean {
  const ending = storage.getStore()?.ending;
  if (ending === undefined || ending.isTold || ending.thrown !== undefined) return false;
  ending.thrown = { exception };
  return true;
}

/** Whether an error is told for the first time in this request; without a request it always is. */
export function isFirstTold(error: Error): boolean {
  const told = storage.getStore()?.told;
  if (told?.has(error)) return false;
  told?.add(error);
  return true;
}

/** Whether an error was told in this request, or will be by its access line. */
export function wasTold(error: Error): boolean {
  const { told, ending } = storage.getStore() ?? {};
  return (told?.has(error) ?? false) || ending?.thrown?.exception === error;
}

/** A UUIDv7 (RFC 9562): sorts by time. */
export function newRequestId(): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = 0x70 | ((bytes[6] ?? 0) & 0x0f);
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f);
  const hex = bytes.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

/** The fields to bind for a request, from its headers (names in lower case). */
export function takenOver(headers: Readonly<Record<string, unknown>>): { requestId: string; traceId?: string } {
  const traceId = TRACE.exec(text(headers[TRACEPARENT]))?.[1];
  const given = text(headers[REQUEST_ID]);
  const requestId = ID.test(given) ? given : (traceId ?? newRequestId());
  return traceId === undefined ? { requestId } : { requestId, traceId };
}

/** The headers that take what is bound here to the next service. */
export function propagation(): Record<string, string> {
  const { requestId, traceId } = current();
  return {
    // What the next service would not take over, a client might refuse.
    ...(typeof requestId === "string" && ID.test(requestId) && { [REQUEST_ID]: requestId }),
    // The span is new: this call. It is sampled, as every line is kept.
    ...(typeof traceId === "string" &&
      TRACE_ID.test(traceId) && { [TRACEPARENT]: `00-${traceId}-${randomBytes(8).toString("hex")}-01` }),
  };
}

function text(header: unknown): string {
  return typeof header === "string" ? header.trim() : "";
}
