// What a log call costs: Winston alone, and this library, with context, redaction and three metadata fields.
//
// Nothing is sent: Winston writes to a stream that takes everything, the library to a link that does. Each case runs
// seven times in turns, and the best run counts, since other programs only ever make it slower.

import { Writable } from "node:stream";
import winston from "winston";
import { Core, use } from "../dist/core.js";
import { bound, getLogger, KafkaTransport } from "../dist/index.js";
import { load } from "../dist/settings.js";

const CALLS = 20_000;
const ROUNDS = 7;
const REQUEST = { requestId: "019ab5a0-0000-7000-8000-000000000001", userId: "usr_006aab" };

const nowhere = () => new Writable({ objectMode: true, write: (_, __, done) => done() });
const alone = winston.createLogger({
  format: winston.format.combine(winston.format.timestamp(), winston.format.json()),
  transports: [new winston.transports.Stream({ stream: nowhere() })],
});
const aloneChild = alone.child(REQUEST);
const settings = load({ service: "chat-service", kafka: "none:9092", stderr: "never", queueBytesMax: 2 ** 30 }, {});
use(new Core(settings, { send: async () => {}, close: async () => {} }));
const through = winston.createLogger({ format: winston.format((info) => info)(), transports: [new KafkaTransport()] });
const own = getLogger("Rooms");
const off = getLogger("Rooms");

const fields = (number) => ({ roomId: `room-${number % 500}`, size: number, durationMs: 4.25 });
const cases = {
  "winston alone, JSON, no redaction": (number) => aloneChild.info("Message stored", fields(number)),
  "winston with KafkaTransport": (number) => through.info("Message stored", fields(number)),
  "servicelog's own logger": (number) => own.info("Message stored", fields(number)),
  "servicelog, a level that is off": (number) => off.debug("Message stored", fields(number)),
};

const best = {};
for (let round = 0; round < ROUNDS; round += 1) {
  for (const [name, call] of Object.entries(cases)) {
    const startMs = performance.now();
    bound(REQUEST, () => {
      for (let number = 0; number < CALLS; number += 1) call(number);
    });
    const callUs = ((performance.now() - startMs) / CALLS) * 1_000;
    best[name] = Math.min(best[name] ?? Number.POSITIVE_INFINITY, callUs);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
for (const [name, callUs] of Object.entries(best))
  console.log(`${name.padEnd(36)} ${callUs.toFixed(2).padStart(7)} µs`);
process.exit(0);
