import { afterEach, beforeEach, describe, expect, it } from "vitest";
import winston from "winston";
import { bound } from "../src/context.js";
import { Core, use } from "../src/core.js";
import { KafkaTransport } from "../src/transport.js";
import { FakeLink, settings, until, type Written } from "./parts.js";

let link: FakeLink;
let core: Core;

beforeEach(() => {
  link = new FakeLink();
  core = use(new Core(settings({ levels: { noisy: "error", quiet: "trace" } }), link));
});

afterEach(() => core.close());

async function written(count: number): Promise<Written[]> {
  await until(() => link.taken.length >= count, `${count} records`);
  return link.records;
}

describe("the Winston transport", () => {
  it("takes over levels, fields, child loggers and what is bound", async () => {
    const logger = winston.createLogger({
      format: winston.format.combine(winston.format.colorize(), winston.format.simple()),
      defaultMeta: { region: "eu" },
      transports: [new KafkaTransport()],
    });
    bound({ requestId: "r-1" }, () => logger.child({ context: "Rooms" }).warn("careful", { a: { password: "x" } }));
    const [record] = await written(1);
    expect(record).toMatchObject({ level: "warn", message: "careful", context: "Rooms", requestId: "r-1" });
    expect(record?.metadata).toEqual({ region: "eu", a: { password: "[redacted]" } });
  });

  it("finds the error, however Winston was given it", async () => {
    const logger = winston.createLogger({ transports: [new KafkaTransport()] });
    const error = new TypeError("no", { cause: new Error("deep") });
    logger.error("failed", error);
    logger.error("failed", { error });
    logger.error("failed", { err: error });
    logger.error(error);
    const records = await written(4);
    for (const record of records) {
      expect(record.error).toEqual({
        type: "TypeError",
        message: "no",
        stack: error.stack,
        causes: [{ type: "Error", message: "deep", stack: (error.cause as Error).stack }],
      });
      expect(record).not.toHaveProperty("metadata");
    }
  });

  it("leaves it to the settings which levels are written, by logger", async () => {
    const logger = winston.createLogger({ level: "error", transports: [new KafkaTransport()] });
    logger.info("noisy", { context: "noisy" });
    logger.silly("quiet", { context: "quiet.part" });
    logger.info("default");
    logger.debug("default, but too low");
    const records = await written(2);
    expect(records.map(({ level, message }) => [level, message])).toEqual([
      ["trace", "quiet"],
      ["info", "default"],
    ]);
  });

  it("goes on whatever it is given, and the record says what was wrong", async () => {
    const logger = winston.createLogger({
      format: winston.format((info) => info)(), // Winston's own JSON would throw
      transports: [new KafkaTransport()],
    });
    const self: Written = {};
    self.self = self;
    const broken = {
      get value(): never {
        throw new Error("no");
      },
    };
    logger.info("odd", { self, broken, big: 2n ** 64n, f: Symbol("s"), nothing: undefined });
    const [record] = await written(1);
    expect(record?.metadata).toEqual({
      self: { self: "[circular]" },
      broken: "[unserialisable Object]",
      big: "18446744073709551616",
      f: "Symbol(s)",
    });
    expect(record?.logProblem).toBe("metadata.broken could not be serialised");
  });
});
