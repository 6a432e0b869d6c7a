// Records that wait on disk: files of about a megabyte, sent oldest first and deleted when Kafka has them.
//
// A record is 4 bytes of length, 4 bytes of CRC-32, and itself; what a crash cut off at a file's end is left out.

import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { appendFile, readFile, rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";

const SEGMENT_BYTES = 2 ** 20;
const HEAD_BYTES = 8;
const DIGITS = 12;

export interface Segment {
  readonly path: string;
  records: number;
  bytes: number;
}

/** The segments of one process, oldest first. Its methods are called one at a time. */
export class Spill {
  readonly #folder: string;
  readonly #bytesMax: number;
  readonly #waiting: Segment[] = [];
  #given: Segment | undefined;
  #next = 0;
  #growing = false;

  /** Takes over what an earlier process left. Throws where the folder cannot be used, or is used by a living process. */
  constructor(folder: string, bytesMax: number) {
    this.#folder = folder;
    this.#bytesMax = bytesMax;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#lock();
    const names = readdirSync(folder).filter((name) => name.endsWith(".spill"));
    for (const name of names.sort()) {
      const path = join(folder, name);
      this.#waiting.push({ path, records: parse(readFileSync(path)).length, bytes: statSync(path).size });
      this.#next = Number.parseInt(name, 10) + 1;
    }
  }

  /** Records in segments that were not taken yet. */
  get records(): number {
    return this.#waiting.reduce((sum, segment) => sum + segment.records, 0);
  }

  get bytes(): number {
    return this.#waiting.reduce((sum, segment) => sum + segment.bytes, this.#given?.bytes ?? 0);
  }

  /** Write the newest records; returns how many of them, from the first, are kept: for others there is no room. */
  async append(records: readonly Buffer[]): Promise<number> {
    const { kept, framed } = this.#frame(records);
    if (kept === 0) return 0;
    const segment = this.#newest();
    try {
      await appendFile(segment.path, framed, { mode: 0o600 });
    } catch {
      await truncate(segment.path, segment.bytes).catch(() => undefined);
      return 0;
    }
    segment.records += kept;
    segment.bytes += framed.length;
    return kept;
  }

  /**
   * The same at the end of the process, where nothing can be awaited. `older` records are older than those on disk.
   * Returns those for which there is no room.
   */
  keepNow(older: readonly Buffer[], newer: readonly Buffer[]): Buffer[] {
    const first = this.#waiting[0];
    // A name that sorts before the oldest: `000000000003-.spill` stands before `000000000003.spill`.
    if (first && older.length > 0) {
      return [
        ...this.#writeNow(older, first.path.replace(/\.spill$/, "-.spill")),
        ...this.#writeNow(newer, this.#path()),
      ];
    }
    return this.#writeNow([...older, ...newer], this.#path());
  }

  /** The oldest segment's records; it stays on disk until `done`. */
  async take(): Promise<Buffer[]> {
    const segment = this.#waiting.shift();
    if (segment === undefined) return [];
    if (this.#waiting.length === 0) this.#growing = false;
    this.#given = segment;
    return parse(await readFile(segment.path));
  }

  /** All records of the segment that was taken are in Kafka: delete it. */
  async done(): Promise<void> {
    const path = this.#given?.path;
    this.#given = undefined;
    if (path !== undefined) await rm(path, { force: true });
  }

  /** Leave what there is to the next process. */
  close(): void {
    rmSync(join(this.#folder, "lock"), { force: true });
  }

  #writeNow(records: readonly Buffer[], path: string): Buffer[] {
    const { kept, framed } = this.#frame(records);
    if (kept > 0) {
      writeFileSync(path, framed, { mode: 0o600 });
      this.#waiting.push({ path, records: kept, bytes: framed.length });
    }
    return records.slice(kept);
  }

  #frame(records: readonly Buffer[]): { kept: number; framed: Buffer } {
    let room = this.#bytesMax - this.bytes;
    const parts: Buffer[] = [];
    let kept = 0;
    for (const record of records) {
      room -= HEAD_BYTES + record.length;
      if (room < 0) break;
      const head = Buffer.allocUnsafe(HEAD_BYTES);
      head.writeUInt32BE(record.length, 0);
      head.writeUInt32BE(crc32(record), 4);
      parts.push(head, record);
      kept += 1;
    }
    return { kept, framed: Buffer.concat(parts) };
  }

  #newest(): Segment {
    const last = this.#waiting.at(-1);
    if (last && this.#growing && last.bytes < SEGMENT_BYTES) return last;
    const segment = { path: this.#path(), records: 0, bytes: 0 };
    this.#waiting.push(segment);
    this.#growing = true;
    return segment;
  }

  #path(): string {
    const number = this.#next;
    this.#next += 1;
    return join(this.#folder, `${String(number).padStart(DIGITS, "0")}.spill`);
  }

  #lock(): void {
    const path = join(this.#folder, "lock");
    let owner = 0;
    try {
      owner = Number(readFileSync(path, "utf8"));
    } catch {
      // Nobody was here before.
    }
    if (owner !== 0 && owner !== process.pid && isAlive(owner)) {
      throw new Error(`process ${owner} uses it: give each process a folder of its own`);
    }
    writeFileSync(path, String(process.pid), { mode: 0o600 });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

function parse(data: Buffer): Buffer[] {
  const records: Buffer[] = [];
  for (let at = 0; at + HEAD_BYTES <= data.length; ) {
    const length = data.readUInt32BE(at);
    const record = data.subarray(at + HEAD_BYTES, at + HEAD_BYTES + length);
    if (record.length !== length || crc32(record) !== data.readUInt32BE(at + 4)) break;
    records.push(record);
    at += HEAD_BYTES + length;
  }
  return records;
}
