// Bad input: whatever a service logs, by whichever way, it goes on, and the record says what was wrong.

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import winston from "winston";
import { bind, bound, only, propagation } from "../src/context.js";
import { Core, mistakes, use } from "../src/core.js";
import { getLogger } from "../src/logger.js";
import { NestLogger } from "../src/nest/logger.service.js";
import { RecordWriter } from "../src/record.js";
import { KafkaTransport } from "../src/transport.js";
import { chance, FakeLink, settings, until, type Written } from "./parts.js";

const harm = (): never => {
  throw new Error("harm");
};
const trapped = (...traps: string[]): object => new Proxy({}, Object.fromEntries(traps.map((trap) => [trap, harm])));
const withGetter = (made: object, name: string): object => Object.defineProperty(made, name, { get: harm });
const revoked = Proxy.revocable({}, {});
revoked.revoke();
class Nameless {
  static get name(): string {
    return harm();
  }
  toString = harm;
}
class Endless extends Set<number> {
  override get size(): number {
    return harm();
  }
}

/** Of these the record must say that they could not be serialised. */
const TOLD: Record<string, unknown> = {
  "toString throws": { toString: harm },
  "toString gives no text": { toString: () => ({}) },
  "toString never ends": {
    toString(): string {
      return `${this}`;
    },
  },
  "a primitive is refused": { toString: () => "", [Symbol.toPrimitive]: harm },
  "a getter throws": Object.defineProperty({}, "a", { get: harm, enumerable: true }),
  "a function without a text": Object.assign(() => 1, { toString: harm }),
  "a proxy that refuses everything": trapped("get", "ownKeys", "getPrototypeOf", "has", "getOwnPropertyDescriptor"),
  "a proxy without names": trapped("ownKeys"),
  "a proxy without a prototype": trapped("getPrototypeOf"),
  "a proxy that was revoked": revoked.proxy,
  "a class without a name": new Nameless(),
  "a set without a size": new Endless([1]),
  "a map that cannot be walked": Object.assign(new Map([[1, 2]]), { [Symbol.iterator]: harm }),
  "an array that cannot be walked": Object.assign([1], { [Symbol.iterator]: harm }),
  "a date without a text": Object.assign(new Date(0), { toISOString: harm }),
  "an error without a message": withGetter(new Error(), "message"),
};

/** These are written all the same. */
const TAKEN: Record<string, unknown> = {
  "toJSON throws": { toJSON: harm, a: 1 },
  "no prototype": Object.assign(Object.create(null), { a: 1 }),
  "a date that is none": new Date(Number.NaN),
  "a symbol": Symbol("s"),
  "a huge array of nothing": new Array(2 ** 32 - 1),
  "a bigint of many digits": 10n ** 5_000n,
  "a lone surrogate": "a\ud800",
  "an error without a stack": withGetter(new Error("e"), "stack"),
  "an error without a cause": withGetter(new Error("e"), "cause"),
  "an error whose cause is a proxy": new Error("e", { cause: revoked.proxy }),
};

const ways: Record<string, (value: unknown) => unknown> = {
  message: (value) => log.info(value, { fine: 1 }),
  field: (value) => log.info("m", { a: value, fine: 1 }),
  "member that is a text": (value) => log.info("m", { userId: value, fine: 1 }),
  "member that is a number": (value) => log.info("m", { status: value, fine: 1 }),
  element: (value) => log.info("m", { a: [new Map([["b", [value]]])], fine: 1 }),
  error: (value) => log.error("m", { error: value, fine: 1 }),
  level: (value) => log.log(value, "m", { fine: 1 }),
  child: (value) => log.child({ a: value }).info("m", { fine: 1 }),
  bound: (value) => bound({ a: value }, () => log.info("m", { fine: 1 })),
  "bound as an ID": (value) =>
    only({}, () => {
      bind({ requestId: value, traceId: value });
      log.info("m", { fine: 1 });
      expect(propagation()).toEqual({});
    }),
  "a getter of the call's": (value) =>
    log.info("m", { fine: 1, get a() { throw value; } }), // biome-ignore format: one line
  "a getter of a child's": (value) => log.child({ get a() { throw value; } }).info("m", { fine: 1 }), // biome-ignore format: the same
  "winston's error": (value) => winstons.error(Object.assign(new Error("m"), { a: value, fine: 1 })),
  "winston's field": (value) => winstons.info("m", { a: value, fine: 1 }),
  "nest's message": (value) => nest.log(value, { fine: 1 }, "Where"),
  "nest's field": (value) => nest.log("m", { a: value, fine: 1 }, "Where"),
  "nest's getter": (value) => nest.log({ message: "m", fine: 1, get a() { throw value; } }, "Where"), // biome-ignore format: the same
  "one of nest's many": (value) => nest.log("m", value, { fine: 1 }, "Where"),
};
const FIELDS = ["nest's message", "one of nest's many"]; // of a plain object these are the members
const GETTERS = ["a getter of the call's", "a getter of a child's", "nest's getter"];

const log = getLogger("t");
const nest = new NestLogger();
let winstons: winston.Logger;
let link: FakeLink;
let core: Core;

beforeEach(() => {
  link = new FakeLink();
  core = use(new Core(settings(), link));
  winstons = winston.createLogger({ format: winston.format((info) => info)(), transports: [new KafkaTransport()] });
});

afterEach(async () => {
  await core.close();
  expect(mistakes.number).toBe(0);
});

async function written(count: number): Promise<Written[]> {
  await until(() => link.taken.length >= count, `${count} records`);
  return link.records;
}

describe("the service goes on", () => {
  it.each(Object.keys(ways))("and the record says what could not be written: as %s", async (way) => {
    const names = Object.keys(TOLD);
    for (const name of names) ways[way]?.(TOLD[name]);
    const records = await written(names.length);
    expect(records).toHaveLength(names.length);
    for (const [index, record] of records.entries()) {
      expect([names[index], (record.metadata as Written).fine]).toEqual([names[index], 1]);
      const said = way === "level" ? 'unknown level "' : "could not be serialised";
      if (!FIELDS.includes(way))
        expect([names[index], record.logProblem]).toEqual([names[index], expect.stringContaining(said)]);
    }
  });

  it.each(Object.keys(ways).filter((way) => way !== "level" && !GETTERS.includes(way)))(
    "and what need not be asked is written: as %s",
    async (way) => {
      const names = Object.keys(TAKEN);
      for (const name of names) ways[way]?.(TAKEN[name]);
      for (const [index, record] of (await written(names.length)).entries()) {
        const { metadata, logProblem } = record as { metadata: Written; logProblem: unknown };
        expect([names[index], metadata.fine, logProblem]).toEqual([names[index], 1, undefined]);
      }
    },
  );

  it("wherever such values are: 2,000 nested ones make a record each", () => {
    const values = [...Object.values(TOLD), ...Object.values(TAKEN)];
    const nested = (next: (below: number) => number, depth = 0): unknown => {
      const any = values[next(values.length)];
      switch (next(depth > 5 ? 1 : 6)) {
        case 0:
          return any;
        case 1:
          return [nested(next, depth + 1), any];
        case 2:
          return new Map([[any, nested(next, depth + 1)]]);
        case 3:
          return new Set([any, nested(next, depth + 1)]);
        case 4:
          return new Error("e", { cause: any });
        default:
          return { a: nested(next, depth + 1), b: any };
      }
    };
    const writer = new RecordWriter("s");
    for (let seed = 0; seed < 2_000; seed += 1) {
      const next = chance(seed);
      const fields = { a: nested(next), userId: nested(next), status: nested(next), fine: 1 };
      const record = writer.write({ timestampMs: seed, level: nested(next), message: nested(next), fields });
      expect(JSON.parse(record.toString()), `seed ${seed}`).toMatchObject({ level: "info", metadata: { fine: 1 } });
    }
  });
});
