// Starts the gateway on PORT, and says where it listens.

import { makeGateway } from "./app.js";

const app = await makeGateway();
await app.listen(Number(process.env.PORT ?? 4000), process.env.HOST ?? "127.0.0.1");
console.log(`listening on ${await app.getUrl()}`);
