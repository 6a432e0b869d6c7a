// A service that writes a hundred records and ends as it is told.

import { close, configure, getLogger } from "../dist/index.js";

const [kafka, topic, how] = process.argv.slice(2);
configure({ service: "child", kafka, topic });
for (let number = 0; number < 100; number += 1) getLogger("child").info("a line", { number });
console.log("written");
if (how === "SIGTERM") setInterval(() => {}, 1_000);
if (how === "close") {
  await close();
  process.exit(0);
}
