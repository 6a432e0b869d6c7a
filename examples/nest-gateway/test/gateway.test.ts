import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { BOOTSTRAP, makeTopic, readTopic } from "../../../clients/node/test/kafka-topics.js";

const MAIN = fileURLToPath(new URL("../dist/main.js", import.meta.url));
const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const PASSWORD = "correct-horse-battery";

interface Seen {
  call: string;
  headers: IncomingHttpHeaders;
  body: string;
}

/** Stands in for auth, user and chat. */
function upstreams(seen: Seen[]): Server {
  return createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += String(chunk);
    const call = `${request.method} ${request.url}`;
    seen.push({ call, headers: request.headers, body });
    const known = request.headers.authorization === "Bearer token-of-ann" || call === "POST /v1/login";
    response.writeHead(known ? 200 : 401, { "content-type": "application/json" });
    response.end(
      JSON.stringify(known ? { id: "usr_1", displayName: "Ann", token: "token-of-ann" } : { message: "who are you?" }),
    );
  });
}

describe.runIf(BOOTSTRAP)("the gateway in NestJS", () => {
  const seen: Seen[] = [];
  const server = upstreams(seen);
  let gateway: ChildProcess;
  let url: string;
  let topic: string;

  beforeAll(async () => {
    topic = await makeTopic();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const upstream = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    gateway = spawn(process.execPath, [MAIN], {
      env: {
        ...process.env,
        ...{ PORT: "0", AUTH_URL: upstream, USER_URL: upstream, CHAT_URL: upstream },
        ...{ SERVICELOG_KAFKA: BOOTSTRAP, SERVICELOG_TOPIC: topic },
      },
      stdio: ["ignore", "pipe", "inherit"],
    });
    let said = "";
    for await (const chunk of gateway.stdout ?? []) {
      said += String(chunk);
      url = /listening on (\S+)/.exec(said)?.[1] ?? "";
      if (url !== "") break;
    }
  });

  afterAll(() => {
    gateway.kill("SIGKILL");
    server.closeAllConnections();
    server.close();
  });

  async function call(
    method: string,
    path: string,
    body?: unknown,
    authorization = "Bearer token-of-ann",
  ): Promise<[number, string]> {
    const requestId = `test-${randomUUID()}`;
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        authorization,
        "content-type": "application/json",
        "x-request-id": requestId,
        traceparent: `00-${TRACE}-00f067aa0ba902b7-01`,
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    await response.text();
    expect(response.headers.get("x-request-id")).toBe(requestId);
    return [response.status, requestId];
  }

  it("asks the services behind it with the request's identity, and its records have the same", async () => {
    const [login, loginId] = await call("POST", "/v1/login", { user: "ann", password: PASSWORD });
    const [me, meId] = await call("GET", "/v1/users/me");
    const [sent, sentId] = await call("POST", "/v1/rooms/room-7/messages", { text: "hello" });
    const [refused, refusedId] = await call("GET", "/v1/users/me", undefined, "Bearer token-of-nobody");
    expect([login, me, sent, refused]).toEqual([200, 200, 201, 401]);

    const callsOf = (id: string): string[] =>
      seen.filter(({ headers }) => headers["x-request-id"] === id).map(({ call: one }) => one);
    expect(callsOf(loginId)).toEqual(["POST /v1/login"]);
    expect(callsOf(meId)).toEqual(["GET /v1/verify", "GET /v1/users/usr_1"]);
    expect(callsOf(sentId)).toEqual(["GET /v1/verify", "GET /v1/users/usr_1", "POST /v1/rooms/room-7/messages"]);
    for (const { headers } of seen) expect(headers.traceparent).toMatch(new RegExp(`^00-${TRACE}-[0-9a-f]{16}-01$`));
    expect(seen.some(({ body }) => body.includes(PASSWORD))).toBe(true);

    gateway.kill("SIGTERM");
    const [code, signal] = await once(gateway, "exit");
    expect([code, signal]).toEqual([null, "SIGTERM"]);
    // What is written last is the summary of the handlers, when the gateway ends.
    const routes = new Set<unknown>();
    const records = await readTopic(topic, (read) => {
      const last = JSON.parse(read.at(-1)?.value ?? "{}");
      if (last.event === "performance") routes.add(last.route);
      return routes.size === 3;
    });
    const written = records.map(({ value }) => JSON.parse(value));
    const ofId = (id: string): [string, unknown][] =>
      written
        .filter(({ requestId }) => requestId === id)
        .map(({ context, status, metadata }) => [context, status ?? metadata.upstream]);
    expect(ofId(loginId)).toEqual([
      ["Upstream", "auth"],
      ["access", 200],
    ]);
    expect(ofId(meId)).toEqual([
      ["Upstream", "auth"],
      ["Upstream", "user"],
      ["access", 200],
    ]);
    expect(ofId(sentId)).toEqual([
      ["Upstream", "auth"],
      ["Upstream", "user"],
      ["Upstream", "chat"],
      ["access", 201],
    ]);
    expect(ofId(refusedId)).toEqual([
      ["Upstream", "auth"],
      ["access", 401],
    ]);
    expect(written.find(({ requestId, context }) => requestId === sentId && context === "access")).toMatchObject({
      service: "api-gateway",
      traceId: TRACE,
      userId: "usr_1",
      conversationId: "room-7",
      route: "/v1/rooms/:room/messages",
    });
    const bytes = records.map(({ value }) => value).join();
    for (const secret of [PASSWORD, "token-of-ann", "token-of-nobody"]) expect(bytes).not.toContain(secret);
  });
});
