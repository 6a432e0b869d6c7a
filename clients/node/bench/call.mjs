// What a log call costs: Winston alone, and this library, with context, redaction and three metadata fields.
//
// `node call.mjs [CALLS] [ROUNDS]` prints CPU µs per call of each round as JSON. Nothing is sent: Winston writes to a
// stream that takes everything, the library to a link that does. All take turns, round by round, after one to warm up.

import { Writable } from "node:stream";
import winston from "winston";
import { Core, use } from "../dist/core.js";
import { bound, getLogger, KafkaTransport } from "../dist/index.js";
import { load } from "../dist/settings.js";

const CALLS = Number(process.argv[2] ?? 20_000);
const ROUNDS = Number(process.argv[3] ?? 9);
const REQUEST = {
  requestId: "019ab5a0-0000-7000-8000-000000000001",
  userId: "usr_006aab",
  conversationId: "room-375",
};

const nowhere = () => new Writable({ objectMode: true, write: (_, __, done) => done() });
const alone = winston.createLogger({
  format: winston.format.combine(winston.format.timestamp(), winston.format.json()),
  transports: [new winston.transports.Stream({ stream: nowhere() })],
});
const aloneChild = alone.child({ ...REQUEST, component: "gateway" });
const settings = load({ service: "chat-service", kafka: "none:9092", stderr: "never", queueBytesMax: 2 ** 30 }, {});
use(new Core(settings, { send: async () => {}, close: async () => {} }));
const through = winston
  .createLogger({ format: winston.format((info) => info)(), transports: [new KafkaTransport()] })
  .child({ component: "gateway" });
const own = getLogger("rooms").child({ component: "gateway" });

const fields = (round, number) => ({ messageId: `msg-${round}-${number}`, roomId: "room-375", size: 120 });
const ways = {
  servicelog: (...one) => own.info("Message stored", fields(...one)),
  "winston with KafkaTransport": (...one) => through.info("Message stored", fields(...one)),
  "winston alone": (...one) => aloneChild.info("Message stored", fields(...one)),
  "servicelog, a level that is off": (...one) => own.debug("Message stored", fields(...one)),
};

const took = {};
for (let round = 0; round <= ROUNDS; round += 1) {
  for (const [name, call] of Object.entries(ways)) {
    const before = process.cpuUsage();
    bound(REQUEST, () => {
      for (let number = 0; number < CALLS; number += 1) call(round, number);
    });
    const { user, system } = process.cpuUsage(before);
    took[name] ??= [];
    if (round > 0) took[name].push((user + system) / CALLS);
    await new Promise((resolve) => setTimeout(resolve, 50)); // what was logged goes where it goes
  }
}
console.log(JSON.stringify(took));
process.exit(0);
