// How many records a second one service can sustain: `node rate.mjs KAFKA TOPIC RECORDS ROUNDS`, as JSON.
//
// From the first call until Kafka has confirmed the last; the service does nothing else, and is never far ahead.

import { bound, close, configure, getLogger, metrics } from "../dist/index.js";

const [kafka, topic] = process.argv.slice(2);
const [records, rounds] = process.argv.slice(4).map(Number);
const REQUEST = { requestId: "019ab5a0-0000-7000-8000-000000000001", userId: "usr_006aab", conversationId: "room-375" };
const AT_ONCE = 1_000;

const told = [];
for (let round = 0; round < rounds; round += 1) {
  configure({ service: "chat-service", kafka, topic, whenFull: "newest" });
  const log = getLogger("rooms").child({ component: "gateway" });
  const beganMs = performance.now();
  await bound(REQUEST, async () => {
    for (let number = 0; number < records; number += 1) {
      log.info("Message stored", { messageId: `msg-${number}`, roomId: "room-375", size: 120 });
      if (number % AT_ONCE === 0) {
        do await new Promise((resolve) => setTimeout(resolve, 0));
        while (metrics().queued > records / 10);
      }
    }
  });
  while (metrics().sent < records) await new Promise((resolve) => setTimeout(resolve, 5));
  told.push(records / ((performance.now() - beganMs) / 1_000));
}
console.log(JSON.stringify(told));
await close();
