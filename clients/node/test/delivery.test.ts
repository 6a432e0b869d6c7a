import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { Delivery } from "../src/delivery.js";
import { RefusedError } from "../src/kafka.js";
import { FakeLink, settings, until } from "./parts.js";

const text = (number: number): string => `${String(number).padStart(6, "0")}${"x".repeat(94)}`; // 100 bytes
const numbers = (count: number, from = 0): string[] => Array.from({ length: count }, (_, index) => text(index + from));
const folders: string[] = [];

function folder(): string {
  const made = mkdtempSync(join(tmpdir(), "servicelog-"));
  folders.push(made);
  return made;
}

afterEach(() => {
  for (const made of folders.splice(0)) rmSync(made, { recursive: true });
});

function send(delivery: Delivery, records: string[]): void {
  for (const record of records) delivery.send(Buffer.from(record));
}

describe("delivery", () => {
  it("sends records in order", async () => {
    const link = new FakeLink();
    const delivery = new Delivery(settings(), link);
    send(delivery, numbers(5_000));
    await delivery.close();
    expect(link.taken).toEqual(numbers(5_000));
    expect(delivery.metrics()).toMatchObject({ logged: 5_000, sent: 5_000, queued: 0, queuedBytes: 0, dropped: {} });
  });

  it("sends the same batch again until it is confirmed, whatever came behind it", async () => {
    const link = new FakeLink();
    const delivery = new Delivery(settings(), link);
    link.fails = () => {
      throw new Error("away");
    };
    send(delivery, numbers(3));
    await until(() => link.attempts.length > 0, "a first attempt");
    expect(delivery.metrics().queued).toBe(3);
    send(delivery, numbers(3, 3));
    await until(() => link.attempts.length > 1 && delivery.metrics().kafkaAway, "a second attempt");
    link.fails = undefined;
    await until(() => link.taken.length === 6, "all six");
    const [first, ...others] = link.attempts.slice(0, -1);
    for (const other of others) expect(other).toEqual(first);
    expect(link.taken).toEqual(numbers(6));
    expect(delivery.metrics().kafkaAway).toBe(false);
    await delivery.close();
  });

  it.each([
    ["oldest", numbers(10, 10)],
    ["newest", numbers(10)],
  ] as const)("drops the %s records where there is no room, and counts them", async (whenFull, kept) => {
    const link = new FakeLink();
    const delivery = new Delivery(settings({ whenFull, queueBytesMax: 1_000 }), link);
    send(delivery, numbers(20));
    expect(delivery.metrics()).toMatchObject({
      logged: 20,
      queued: 10,
      queuedBytes: 1_000,
      dropped: { queue_full: 10 },
    });
    await delivery.close();
    expect(link.taken).toEqual(kept);
  });

  it("keeps what does not fit on disk, and sends it in order when Kafka is back", async () => {
    const link = new FakeLink();
    const spillFolder = folder();
    const delivery = new Delivery(settings({ whenFull: "spill", spillFolder, queueBytesMax: 100_000 }), link);
    link.fails = () => {
      throw new Error("away");
    };
    for (let from = 0; from < 20_000; from += 200) {
      send(delivery, numbers(200, from));
      await until(() => delivery.metrics().queuedBytes <= 60_000, "room in the queue");
    }
    expect(delivery.metrics().spilled).toBeGreaterThan(15_000);
    link.fails = undefined;
    await until(() => link.taken.length === 20_000, "all records");
    expect(link.taken).toEqual(numbers(20_000));
    expect(delivery.metrics()).toMatchObject({ sent: 20_000, spilled: 0, queued: 0, dropped: {} });
    await delivery.close();
    expect(readdirSync(spillFolder)).toEqual([]);
  });

  it("leaves what it could not send to the next process, in order", async () => {
    const link = new FakeLink();
    const given = settings({ whenFull: "spill", spillFolder: folder(), queueBytesMax: 100_000 });
    const first = new Delivery(given, link);
    link.fails = () => {
      throw new Error("away");
    };
    send(first, numbers(10));
    await until(() => link.attempts.length > 0, "some on their way");
    send(first, numbers(600, 10));
    await until(() => first.metrics().spilled > 0, "some on disk");
    send(first, numbers(290, 610));
    await first.close(0);
    expect(first.metrics()).toMatchObject({ dropped: {} });

    const back = new FakeLink();
    const second = new Delivery(given, back);
    expect(second.metrics().takenOver).toBe(900);
    send(second, numbers(1, 900));
    await until(() => back.taken.length >= 901, "all of both");
    expect(back.taken).toEqual(numbers(901));
    await second.close();
  });

  it("counts what the disk has no room for", async () => {
    const link = new FakeLink();
    const delivery = new Delivery(
      settings({ whenFull: "spill", spillFolder: folder(), queueBytesMax: 10_000, spillBytesMax: 20_000 }),
      link,
    );
    link.fails = () => new Promise(() => undefined);
    await until(() => {
      send(delivery, numbers(10));
      return (delivery.metrics().dropped.spill_full ?? 0) > 0;
    }, "drops");
    const { logged, queued, spilled, dropped } = delivery.metrics();
    expect(queued + spilled + (dropped.spill_full ?? 0) + (dropped.queue_full ?? 0)).toBe(logged);
    await delivery.close(0);
  });

  it("drops alone the record that Kafka refuses for good", async () => {
    const link = new FakeLink();
    const delivery = new Delivery(settings(), link);
    link.fails = (records) => {
      if (records.includes(text(7))) throw new RefusedError("too large");
    };
    send(delivery, numbers(20));
    await delivery.close();
    expect(link.taken).toEqual(numbers(20).filter((one) => one !== text(7)));
    expect(delivery.metrics()).toMatchObject({ sent: 19, dropped: { refused: 1 } });
  });

  it("ends within its deadline where Kafka does not answer, and counts what is left", async () => {
    const link = new FakeLink();
    link.fails = () => new Promise(() => undefined);
    const delivery = new Delivery(settings(), link);
    send(delivery, numbers(5));
    await delivery.close(50);
    send(delivery, numbers(1));
    expect(delivery.metrics()).toMatchObject({ logged: 6, sent: 0, queued: 0, dropped: { closed: 6 } });
  });
});
