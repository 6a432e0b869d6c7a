import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { Logger } from "servicelog";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { type Call, Upstream } from "../src/upstream.js";

let asked = 0;
let breaking: Server;

beforeAll(async () => {
  breaking = createServer((request) => {
    asked += 1;
    request.socket.destroy();
  });
  await new Promise<void>((resolve) => breaking.listen(0, "127.0.0.1", resolve));
  const { port } = breaking.address() as AddressInfo;
  vi.stubEnv("CHAT_URL", `http://127.0.0.1:${port}`);
  vi.stubEnv("USER_URL", "http://127.0.0.1:2"); // nobody listens there, and fetch does not forbid it, as port 1
});

afterAll(() => {
  vi.unstubAllEnvs();
  breaking.close();
});

/** Why each attempt of a call failed. */
async function reasonsOf(upstream: Call["upstream"], method: Call["method"]): Promise<unknown[]> {
  const log = vi.spyOn(Logger.prototype, "log").mockReturnValue(undefined);
  await expect(new Upstream().call({ upstream, method, route: "/v1", headers: {} })).rejects.toThrow();
  const reasons = log.mock.calls.map(([, , fields]) => fields?.reason);
  log.mockRestore();
  return reasons;
}

it("asks again for what was not done, and for what may have been done where that makes no difference", async () => {
  expect(await reasonsOf("user", "POST")).toEqual(["refused", "refused", "refused"]);
  expect(await reasonsOf("chat", "GET")).toEqual(["broken", "broken", "broken"]);
  const before = asked;
  for (const method of ["POST", "PATCH"] as const) expect(await reasonsOf("chat", method)).toEqual(["broken"]);
  expect(asked - before).toBe(2);
});
