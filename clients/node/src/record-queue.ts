// The bounded queue between log calls and delivery.

/** Records in order, bounded in bytes. */
export class RecordQueue {
  readonly #bytesMax: number;
  readonly #dropOldest: boolean;
  #records: (Buffer | undefined)[] = [];
  #first = 0;
  bytes = 0;

  constructor(bytesMax: number, dropOldest: boolean) {
    this.#bytesMax = bytesMax;
    this.#dropOldest = dropOldest;
  }

  get length(): number {
    return this.#records.length - this.#first;
  }

  /** Put the newest record, beside so many bytes that are on their way; returns how many records there is no room for. */
  put(record: Buffer, bytesElsewhere: number): number {
    let dropped = 0;
    while (this.bytes + bytesElsewhere + record.length > this.#bytesMax) {
      dropped += 1;
      if (!this.#dropOldest || this.length === 0) return dropped;
      this.shift(1);
    }
    this.#records.push(record);
    this.bytes += record.length;
    return dropped;
  }

  /** The oldest records, at least one if there is one; they stay until `shift`. */
  peek(recordsMax: number, bytesMax: number): Buffer[] {
    const found: Buffer[] = [];
    let bytes = 0;
    for (let at = this.#first; at < this.#records.length && found.length < recordsMax; at += 1) {
      const record = this.#records[at] as Buffer;
      bytes += record.length;
      if (bytes > bytesMax && found.length > 0) break;
      found.push(record);
    }
    return found;
  }

  /** Take the oldest records away. */
  shift(number: number): void {
    for (let count = 0; count < number; count += 1) {
      this.bytes -= this.#records[this.#first]?.length ?? 0;
      this.#records[this.#first] = undefined;
      this.#first += 1;
    }
    if (this.#first > 1_024 && this.#first * 2 > this.#records.length) {
      this.#records = this.#records.slice(this.#first);
      this.#first = 0;
    }
  }
}
