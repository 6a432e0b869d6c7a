// The way to Kafka: sends one batch at a time, and tells what an error means.

import { type GenericError, Producer, type ProducerOptions } from "@platformatic/kafka";
import type { Settings } from "./settings.js";

/** Takes batches to where records go. */
export interface Link {
  /** Send a batch, in order. Throws a RefusedError if it will never be taken; after any other, send the same again. */
  send(records: readonly Buffer[]): Promise<void>;
  close(): Promise<void>;
}

/** Kafka refuses these records for good. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
}

const REFUSED = ["MESSAGE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_RECORD", "INVALID_TIMESTAMP"];
const REQUEST_TIMEOUT_MS = 5_000;

/**
 * Kafka, by an idempotent producer.
 *
 * The sequence number of a batch moves on only when it is confirmed, so a batch that is sent again *unchanged* by the
 * same producer is stored once, whatever became of the first time. Whoever calls `send` keeps to that.
 */
export class KafkaLink implements Link {
  readonly #settings: Settings;
  readonly #key: Buffer;
  #producer: Producer | undefined;

  constructor(settings: Settings) {
    this.#settings = settings;
    this.#key = Buffer.from(settings.service);
  }

  async send(records: readonly Buffer[]): Promise<void> {
    const { topic } = this.#settings;
    const messages = records.map((value) => ({ topic, key: this.#key, value }));
    try {
      this.#producer ??= new Producer(producerOptions(this.#settings));
      await this.#producer.send({ messages });
    } catch (error) {
      if (REFUSED.some((apiId) => has(error, "apiId", apiId))) throw new RefusedError(reason(error), { cause: error });
      // A producer that Kafka does not know any more cannot go on; a new one can, and may store the batch twice.
      if (has(error, "canRetry", false)) await this.close();
      throw new Error(reason(error), { cause: error });
    }
  }

  async close(): Promise<void> {
    const producer = this.#producer;
    this.#producer = undefined;
    await producer?.close().catch(() => undefined);
  }
}

function producerOptions(settings: Settings): ProducerOptions<Buffer, Buffer, Buffer, Buffer> {
  return {
    clientId: `servicelog-${settings.service}`,
    bootstrapBrokers: settings.kafka.split(",").map((address) => address.trim()),
    idempotent: true,
    compression: settings.compression,
    // What fails is soon said, and sent again by Delivery: 2 is the fewest that the client does not take as endless.
    retries: 2,
    retryDelay: 200,
    connectTimeout: REQUEST_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    timeout: REQUEST_TIMEOUT_MS,
    ...(settings.tls && { tls: settings.tls }),
    ...(settings.sasl && { sasl: settings.sasl }),
  };
}

function has(error: unknown, property: string, value: unknown): boolean {
  const { findBy } = error as Partial<GenericError>;
  return typeof findBy === "function" && findBy.call(error, property, value) !== null;
}

/** The innermost of the errors that the client wraps: it says what happened. */
function reason(error: unknown): string {
  let inner = error;
  for (let depth = 0; depth < 8; depth += 1) {
    const { errors, cause } = inner as { errors?: unknown[]; cause?: unknown };
    const next = errors?.at(-1) ?? cause;
    if (next === undefined) break;
    inner = next;
  }
  return inner instanceof Error ? inner.message : String(inner);
}
