// Where records go: into a bounded queue, from there to Kafka, and to disk and stderr while Kafka is away.

import { Console } from "./console.js";
import { KafkaLink, type Link, RefusedError } from "./kafka.js";
import { Durations, type Metrics } from "./metrics.js";
import { RecordQueue } from "./record-queue.js";
import type { Settings } from "./settings.js";
import { Spill } from "./spill.js";

const LINGER_MS = 10;
const AGAIN_MS = 500;
const IDLE_MS = 5_000;
const STALLED_MS = 3_000; // without a confirmation for so long, Kafka is away, whatever the connections say
const BATCH_RECORDS = 1_000;
const BATCH_BYTES = 800_000; // below Kafka's message.max.bytes even where nothing is compressed

/** Delivers the records of one service to Kafka, in order: the batch on its way, then what is on disk, then the queue. */
export class Delivery {
  readonly #settings: Settings;
  readonly #link: Link;
  readonly #queue: RecordQueue;
  readonly #console: Console;
  readonly #spill: Spill | undefined;
  readonly #latencies = new Durations();
  readonly #dropped = { queue_full: 0, spill_full: 0, refused: 0, closed: 0 };
  #going: Buffer[] = []; // what has left the queue, or was read from disk, and is not in Kafka
  #fromDisk = false; // where those came from
  #goingBytes = 0; // in the queue's bound; 0 for those that are on disk as well
  #recordsAtOnce = BATCH_RECORDS;
  #rest: NodeJS.Timeout | undefined;
  #turn: Promise<unknown> = Promise.resolve(); // queue and disk are touched by one at a time
  #pumping = false;
  #keeping = false;
  #closing: Promise<void> | undefined;
  #over = false;
  #away = false;
  #diskFull = false;
  #logged = 0;
  #sent = 0;
  #spilledTotal = 0;
  #takenOver = 0;

  constructor(settings: Settings, link: Link = new KafkaLink(settings)) {
    this.#settings = settings;
    this.#link = link;
    this.#queue = new RecordQueue(settings.queueBytesMax, settings.whenFull === "oldest");
    this.#console = new Console(settings.stderrLinesPerS);
    this.#spill = this.#openSpill();
    this.#takenOver = this.#spill?.records ?? 0;
    if (this.#takenOver > 0) this.#pumpSoon();
    process.once("exit", this.#atExit);
    atSigterm.add(this);
  }

  /** Take a record; never blocks, never throws. */
  send(record: Buffer): void {
    this.#logged += 1;
    if (this.#closing) {
      this.#dropped.closed += 1;
      this.#console.show(record);
      return;
    }
    this.#dropped[this.#diskFull ? "spill_full" : "queue_full"] += this.#queue.put(record, this.#goingBytes);
    this.#pumpSoon();
    if (this.#spill && this.#queue.bytes * 2 > this.#settings.queueBytesMax) this.#keepSoon();
    const { stderr } = this.#settings;
    if (stderr !== "never" && (this.#away || stderr === "always")) this.#console.show(record);
  }

  metrics(): Metrics {
    const going = this.#going.length;
    return {
      logged: this.#logged,
      sent: this.#sent,
      queued: this.#queue.length + (this.#fromDisk ? 0 : going),
      queuedBytes: this.#queue.bytes + this.#goingBytes,
      spilled: (this.#spill?.records ?? 0) + (this.#fromDisk ? going : 0),
      spilledTotal: this.#spilledTotal,
      takenOver: this.#takenOver,
      dropped: Object.fromEntries(Object.entries(this.#dropped).filter(([, number]) => number > 0)),
      kafkaAway: this.#away,
      latencyMs: this.#latencies.summary(),
    };
  }

  /** Deliver what there is, for so long at most; then keep it on disk, or show it on stderr. Nothing is taken after. */
  close(flushMs = this.#settings.flushMs): Promise<void> {
    this.#closing ??= this.#close(flushMs);
    return this.#closing;
  }

  async #close(flushMs: number): Promise<void> {
    const endMs = performance.now() + flushMs;
    this.#pumpSoon();
    while (this.#pumping && performance.now() < endMs) await delay(LINGER_MS);
    await Promise.race([this.#turn, delay(AGAIN_MS)]);
    this.#leave();
    await Promise.race([this.#link.close(), delay(AGAIN_MS)]);
  }

  readonly #atExit = (): void => this.#leave();

  #leave(): void {
    if (this.#over) return;
    this.#over = true;
    process.off("exit", this.#atExit);
    atSigterm.delete(this);
    const older = this.#fromDisk ? [] : this.#going;
    const newer = this.#queue.peek(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
    let lost = [...older, ...newer];
    const left = lost.length;
    try {
      lost = this.#spill?.keepNow(older, newer) ?? lost;
      this.#spill?.close();
    } catch (error) {
      this.#console.say(`no records can be kept in ${this.#settings.spillFolder}: ${String(error)}`);
    }
    this.#going = [];
    this.#queue.shift(newer.length);
    this.#spilledTotal += left - lost.length;
    this.#dropped.closed += lost.length;
    if (lost.length > 0) this.#console.say(`${lost.length} records did not reach Kafka before the end; they follow`);
    this.#console.showNow(this.#settings.stderr === "never" ? [] : lost);
  }

  // --- to Kafka

  #pumpSoon(): void {
    if (this.#pumping || this.#over) return;
    this.#pumping = true;
    clearTimeout(this.#rest);
    setTimeout(() => void this.#pump(), LINGER_MS);
  }

  /** Send until nothing is left. */
  async #pump(): Promise<void> {
    try {
      while (!this.#over && (await this.#alone(() => this.#nextBatch()))) await this.#sendBatch();
    } catch (error) {
      this.#console.say(`mistake in the delivery, please report it: ${String(error)}`);
    }
    this.#pumping = false;
    if (!this.#over && (this.#going.length > 0 || this.#queue.length > 0)) this.#pumpSoon();
    else this.#restSoon();
  }

  /** A connection keeps the process alive: one that nobody needs is closed, and the next record opens another. */
  #restSoon(): void {
    this.#rest = setTimeout(() => void this.#link.close(), IDLE_MS).unref();
  }

  async #nextBatch(): Promise<boolean> {
    if (this.#going.length > 0) return true;
    this.#fromDisk = false;
    this.#recordsAtOnce = BATCH_RECORDS;
    while (this.#spill && this.#spill.records > 0) {
      const records = await this.#spill.take();
      if (this.#over) return false;
      if (records.length > 0) {
        this.#going = records;
        this.#fromDisk = true;
        return true;
      }
      await this.#spill.done();
    }
    this.#going = this.#queue.peek(BATCH_RECORDS, BATCH_BYTES);
    this.#queue.shift(this.#going.length);
    this.#goingBytes = sizeOf(this.#going);
    return this.#going.length > 0;
  }

  /** What is sent at once stays what it is until it is confirmed: only then is a second sending no second storing. */
  async #sendBatch(): Promise<void> {
    const records = firstOf(this.#going, this.#recordsAtOnce);
    const startMs = performance.now();
    const stalled = setTimeout(() => this.#goesAway("it does not answer"), STALLED_MS);
    try {
      await this.#link.send(records);
      if (this.#over) return;
      this.#sent += records.length;
      this.#latencies.add(performance.now() - startMs);
      this.#isBack();
      await this.#settled(records.length);
    } catch (error) {
      if (this.#over) return;
      if (error instanceof RefusedError) await this.#refused(records, error);
      else {
        this.#goesAway(error instanceof Error ? error.message : String(error));
        await delay(AGAIN_MS);
      }
    } finally {
      clearTimeout(stalled);
    }
  }

  /** The first of those on their way need no place any more. */
  async #settled(number: number): Promise<void> {
    this.#going = this.#going.slice(number);
    this.#goingBytes = this.#fromDisk ? 0 : sizeOf(this.#going);
    if (this.#fromDisk && this.#going.length === 0) await this.#alone(async () => this.#spill?.done());
  }

  /** Of what is refused, Kafka stored nothing: half of it is tried, down to the record that it is about. */
  async #refused(records: readonly Buffer[], error: RefusedError): Promise<void> {
    if (records.length > 1) {
      this.#recordsAtOnce = Math.ceil(records.length / 2);
      return;
    }
    this.#dropped.refused += 1;
    this.#console.say(`Kafka refuses a record for good: ${error.message}; it follows`);
    for (const record of records) this.#console.show(record);
    await this.#settled(records.length);
  }

  // --- when it does not go on

  #goesAway(why: string): void {
    if (this.#away) return;
    this.#away = true;
    const shown = this.#settings.stderr === "never" ? "" : " Lines are also shown here until it is back.";
    this.#console.say(`Kafka at ${this.#settings.kafka} is away: ${why}.${shown}`);
  }

  #isBack(): void {
    if (!this.#away) return;
    this.#away = false;
    this.#console.say(
      `Kafka is back; ${this.#console.hidden} lines were not shown here, but are in the queue or counted`,
    );
    this.#console.hidden = 0;
  }

  #openSpill(): Spill | undefined {
    const { spillFolder, spillBytesMax, whenFull } = this.#settings;
    if (whenFull !== "spill") return undefined;
    try {
      return new Spill(spillFolder, spillBytesMax);
    } catch (error) {
      this.#console.say(
        `no records can be kept in ${spillFolder}: ${String(error)}. Those that do not fit are dropped.`,
      );
      return undefined;
    }
  }

  #keepSoon(): void {
    if (this.#keeping) return;
    this.#keeping = true;
    void this.#alone(() => this.#keep()).finally(() => {
      this.#keeping = false;
    });
  }

  /** Write the queue's oldest records to disk, down to a quarter of its bytes. */
  async #keep(): Promise<void> {
    while (this.#spill && !this.#closing && this.#queue.bytes * 4 > this.#settings.queueBytesMax) {
      const records = this.#queue.peek(BATCH_RECORDS, BATCH_BYTES);
      const kept = await this.#spill.append(records);
      this.#queue.shift(kept);
      this.#spilledTotal += kept;
      this.#diskFull = kept < records.length;
      if (this.#diskFull) return; // the disk is full: what the queue cannot hold is dropped, and counted
    }
  }

  #alone<Result>(work: () => Promise<Result>): Promise<Result> {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => undefined);
    return done;
  }
}

/** The first records that one request may hold; at least one. */
function firstOf(records: readonly Buffer[], recordsMax: number): readonly Buffer[] {
  let bytes = 0;
  let number = 0;
  for (const record of records) {
    bytes += record.length;
    if (number === recordsMax || (number > 0 && bytes > BATCH_BYTES)) break;
    number += 1;
  }
  return records.slice(0, number);
}

function sizeOf(records: readonly Buffer[]): number {
  return records.reduce((sum, record) => sum + record.length, 0);
}

function delay(timeMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, timeMs));
}

const atSigterm = new Set<Delivery>();

/** Flush on SIGTERM where nobody else handles it: a service with its own handler ends in its own way. */
export function flushOnSigterm(): void {
  if (process.listeners("SIGTERM").includes(onSigterm)) return;
  process.on("SIGTERM", onSigterm);
}

function onSigterm(): void {
  if (process.listenerCount("SIGTERM") > 1) return;
  void Promise.all([...atSigterm].map((delivery) => delivery.close())).finally(() => {
    process.off("SIGTERM", onSigterm);
    process.kill(process.pid, "SIGTERM");
  });
}
