// The service of tests/outage: what service.py there is, on Node's own HTTP server: `node outage.mjs PORT`.

import { createServer } from "node:http";
import { configure, getLogger, metrics } from "../dist/index.js";
import { RequestMiddleware } from "../dist/nest/index.js";

const LINES = 10;

configure();
const log = getLogger("rooms");
const middleware = new RequestMiddleware(new Set());
let number = 0;
let callUs = [];

function room(roomId) {
  for (let line = 0; line < LINES; line += 1) {
    const beganMs = performance.now();
    log.info("Message stored", { n: number, roomId, size: 120 });
    callUs.push((performance.now() - beganMs) * 1_000);
    number += 1;
  }
  return { room: roomId };
}

function figures() {
  const taken = callUs;
  callUs = [];
  const {
    logged = 0,
    sent = 0,
    queued = 0,
    spilled = 0,
    spilledTotal = 0,
    dropped = {},
    kafkaAway = false,
  } = metrics() ?? {};
  return { callUs: taken, logged, sent, waiting: queued + spilled, spilledTotal, dropped, away: kafkaAway };
}

createServer((request, response) => {
  const answer = (body) => response.setHeader("content-type", "application/json").end(JSON.stringify(body));
  if (request.url === "/figures") answer(figures());
  else middleware.use(request, response, () => answer(room(request.url.split("/").at(-1))));
}).listen(Number(process.argv[2]), "127.0.0.1");
