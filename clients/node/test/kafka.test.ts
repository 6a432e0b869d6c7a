import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import winston from "winston";
import { Delivery } from "../src/delivery.js";
import { KafkaTransport } from "../src/transport.js";
import { BOOTSTRAP, KAFKA_PID, makeTopic, readTopic } from "./kafka-topics.js";
import { settings, until } from "./parts.js";

const CHILD = fileURLToPath(new URL("child.mjs", import.meta.url));

describe.runIf(BOOTSTRAP)("with a real Kafka", { timeout: 120_000 }, () => {
  it("what Winston writes arrives, keyed by the service and in order", async () => {
    const topic = await makeTopic(4);
    const transport = new KafkaTransport({ service: "chat-service", kafka: BOOTSTRAP, topic, level: "debug" });
    const logger = winston.createLogger({ transports: [transport] });
    for (let number = 0; number < 2_000; number += 1) logger.info("Message stored", { number, password: "hunter2" });
    logger.debug("a detail");
    logger.silly("a detail too many");
    logger.end();
    await once(transport, "finish");
    expect(transport.metrics()).toMatchObject({ sent: 2_001, queued: 0, dropped: {} });

    const records = await readTopic(topic, (read) => read.length === 2_001);
    expect(new Set(records.map(({ key }) => key))).toEqual(new Set(["chat-service"]));
    expect(new Set(records.map(({ partition }) => partition)).size).toBe(1);
    const written = records.map(({ value }) => JSON.parse(value));
    expect(written.slice(0, 2_000).map((one) => one.metadata.number)).toEqual(
      Array.from({ length: 2_000 }, (_, n) => n),
    );
    expect(records.some(({ value }) => value.includes("hunter2"))).toBe(false);
    expect(written[2_000]).toMatchObject({ level: "debug", service: "chat-service", message: "a detail" });
  });

  it("nothing is missing or doubled after Kafka was held up", async () => {
    const topic = await makeTopic();
    const spillFolder = mkdtempSync(join(tmpdir(), "servicelog-"));
    const delivery = new Delivery(
      settings({ kafka: BOOTSTRAP, topic, whenFull: "spill", spillFolder, queueBytesMax: 200_000 }),
    );
    const record = (number: number): string => `{"message":"${number}","filler":"${"x".repeat(200)}"}`;
    let next = 0;
    const write = (): void => {
      for (let count = 0; count < 100; count += 1, next += 1) delivery.send(Buffer.from(record(next)));
    };
    write();
    await until(() => delivery.metrics().sent > 0, "a first confirmation");
    process.kill(KAFKA_PID, "SIGSTOP");
    try {
      while (!delivery.metrics().kafkaAway || delivery.metrics().spilled < 2_000) {
        write();
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    } finally {
      process.kill(KAFKA_PID, "SIGCONT");
    }
    await until(() => delivery.metrics().sent === next, "all records confirmed");
    expect(delivery.metrics()).toMatchObject({ spilled: 0, queued: 0, dropped: {}, kafkaAway: false });
    await delivery.close();
    rmSync(spillFolder, { recursive: true });
    const records = await readTopic(topic, (read) => read.length >= next);
    expect(records.map(({ value }) => value)).toEqual(Array.from({ length: next }, (_, number) => record(number)));
  });

  it("a record that is too large for the topic is dropped alone, and counted", async () => {
    const topic = await makeTopic(1, { "max.message.bytes": "2000" });
    const delivery = new Delivery(settings({ kafka: BOOTSTRAP, topic, compression: "none" }));
    for (const text of ["one", "x".repeat(3_000), "two"]) delivery.send(Buffer.from(text));
    await until(() => delivery.metrics().sent === 2, "the others");
    expect(delivery.metrics().dropped).toEqual({ refused: 1 });
    await delivery.close();
    const records = await readTopic(topic, (read) => read.length === 2);
    expect(records.map(({ value }) => value)).toEqual(["one", "two"]);
  });

  it.each(["SIGTERM", "end", "close"])("a process that ends by %s delivers what it wrote", async (how) => {
    const topic = await makeTopic();
    const child = spawn(process.execPath, [CHILD, BOOTSTRAP, topic, how], { stdio: ["ignore", "pipe", "inherit"] });
    await once(child.stdout, "data");
    if (how === "SIGTERM") child.kill("SIGTERM");
    const [code, signal] = await once(child, "exit");
    expect([code, signal]).toEqual(how === "SIGTERM" ? [null, "SIGTERM"] : [0, null]);
    const records = await readTopic(topic, (read) => read.length === 100);
    expect(records.map(({ value }) => JSON.parse(value).metadata.number)).toEqual(
      Array.from({ length: 100 }, (_, n) => n),
    );
  });
});
