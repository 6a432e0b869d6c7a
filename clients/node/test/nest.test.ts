import "reflect-metadata";
import { createServer, request, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import {
  BadRequestException,
  Controller,
  Get,
  type INestApplication,
  Inject,
  Injectable,
  Logger,
  Module,
  Param,
  Res,
} from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { ExecutionContextHost } from "@nestjs/core/helpers/execution-context-host.js";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { bind, propagation } from "../src/context.js";
import { Core, use } from "../src/core.js";
import { getLogger } from "../src/logger.js";
import { ExceptionFilter, LoggerModule, NestLogger, PerformanceInterceptor } from "../src/nest/index.js";
import { FakeLink, settings, until, type Written } from "./parts.js";

const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";

class Broken extends Error {}

/** What lets the requests for the room "held" go on. */
const held: (() => void)[] = [];

@Injectable()
class Rooms {
  readonly #log = new Logger("Rooms");

  store(room: string): void {
    bind({ conversationId: room });
    this.#log.log("Message stored", { size: 3 });
  }
}

@Controller("rooms")
class RoomsController {
  readonly #rooms: Rooms;

  constructor(@Inject(Rooms) rooms: Rooms) {
    this.#rooms = rooms;
  }

  @Get(":room")
  async room(@Param("room") room: string): Promise<unknown> {
    if (room === "held") await new Promise<void>((resolve) => held.push(resolve));
    await new Promise((resolve) => setTimeout(resolve, room === "slow" ? 30 : 1));
    this.#rooms.store(room);
    return propagation();
  }

  @Get(":room/broken")
  broken(): never {
    throw new Broken("it broke", { cause: new TypeError("deep down") });
  }

  @Get(":room/late")
  async late(): Promise<never> {
    await new Promise<void>((resolve) => held.push(resolve));
    throw new Broken("nobody waits for it");
  }

  @Get(":room/midway")
  midway(@Res({ passthrough: true }) response: ServerResponse): never {
    response.write("[");
    throw new Broken("too late for a status");
  }

  @Get(":room/caught")
  caught(): never {
    const error = new Broken("known already");
    getLogger("Rooms").error("Caught", { error });
    throw error;
  }

  @Get(":room/foreign")
  foreign(): never {
    throw Object.assign(new Broken("too much"), { statusCode: 413 });
  }

  @Get(":room/bad")
  bad(): never {
    throw new BadRequestException("no such thing");
  }
}

let app: INestApplication;
let link: FakeLink;
let url: string;

beforeEach(async () => {
  link = new FakeLink();

  @Module({
    imports: [
      LoggerModule.forRoot({ service: "test", summaryEveryMs: 0, quiet: ["/rooms/quiet", "/rooms/quiet/broken"] }),
    ],
    controllers: [RoomsController],
    providers: [Rooms],
  })
  class App {}

  app = await NestFactory.create(App, { bufferLogs: true });
  use(new Core(settings({ level: "debug" }), link));
  app.useLogger(app.get(NestLogger));
  await app.listen(0, "127.0.0.1");
  url = await app.getUrl();
});

afterEach(() => app.close());

async function get(
  path: string,
  headers: Record<string, string> = {},
): Promise<{ id: string; status: number; body: Written }> {
  const response = await fetch(`${url}${path}`, { headers });
  const body = (await response.json()) as Written;
  return { id: response.headers.get("x-request-id") ?? "", status: response.status, body };
}

/** The records of a request, from when its access line is there. */
async function recordsOf(requestId: string): Promise<Written[]> {
  const own = (): Written[] => link.records.filter((record) => record.requestId === requestId);
  await until(() => own().some(({ context }) => context === "access"), "an access line");
  return own();
}

describe("the NestJS module", () => {
  it("takes a request ID over, returns it, and puts it on all that the request writes", async () => {
    const { id } = await get("/rooms/room-1", {
      "x-request-id": "from-outside",
      traceparent: `00-${TRACE}-00f067aa0ba902b7-01`,
    });
    expect(id).toBe("from-outside");
    const [stored, access] = await recordsOf(id);
    expect(stored).toMatchObject({
      context: "Rooms",
      message: "Message stored",
      traceId: TRACE,
      conversationId: "room-1",
      metadata: { size: 3 },
    });
    expect(access).toMatchObject({
      level: "info",
      method: "GET",
      route: "/rooms/:room",
      status: 200,
      traceId: TRACE,
      conversationId: "room-1",
    });
    expect(access?.metadata).toMatchObject({ client: "127.0.0.1" });
    expect((access?.metadata as Written).bytes).toBeGreaterThan(0);
    expect(access?.durationMs).toBeGreaterThan(0);
  });

  it("makes a UUIDv7 where there is none, or none that looks like one; else the trace's ID is the request's", async () => {
    expect((await get("/rooms/a")).id).toMatch(UUID7);
    expect((await get("/rooms/a", { "x-request-id": "two words" })).id).toMatch(UUID7);
    expect((await get("/rooms/a", { traceparent: `00-${TRACE}-00f067aa0ba902b7-01` })).id).toBe(TRACE);
  });

  it("writes no access line for a quiet path, unless it fails", async () => {
    const { id } = await get("/rooms/quiet");
    const failed = await get("/rooms/quiet/broken");
    await recordsOf(failed.id);
    expect(link.records.filter(({ requestId }) => requestId === id).map(({ context }) => context)).toEqual(["Rooms"]);
  });

  it("hands the request's identity on to the next service", async () => {
    const { body } = await get("/rooms/a", { "x-request-id": "r-1", traceparent: `00-${TRACE}-00f067aa0ba902b7-01` });
    expect(body["x-request-id"]).toBe("r-1");
    expect(body.traceparent).toMatch(new RegExp(`^00-${TRACE}-[0-9a-f]{16}-01$`));
    expect(body.traceparent).not.toContain("00f067aa0ba902b7");
  });

  it("keeps requests apart that run at the same time", async () => {
    const ids = Array.from({ length: 50 }, (_, number) => `r-${number}`);
    await Promise.all(ids.map((id) => get(`/rooms/room-of-${id}`, { "x-request-id": id })));
    for (const id of ids) {
      const rooms = (await recordsOf(id)).map(({ conversationId }) => conversationId);
      expect(rooms).toEqual([`room-of-${id}`, `room-of-${id}`]);
    }
  });

  it("tells an exception once, in the access line, with stack, causes and context", async () => {
    const { id, status } = await get("/rooms/a/broken");
    expect(status).toBe(500);
    const [told, ...others] = await recordsOf(id);
    expect(others).toEqual([]);
    expect(told).toMatchObject({
      level: "error",
      message: "GET /rooms/:room/broken 500",
      context: "access",
      status: 500,
    });
    expect(told?.error).toMatchObject({ type: "Broken", message: "it broke", causes: [{ type: "TypeError" }] });
    expect((told?.error as Written).stack).toContain("RoomsController");
  });

  it("tells an exception with a status of its own at that status's level, once", async () => {
    const { id, status } = await get("/rooms/a/foreign");
    expect(status).toBe(413);
    expect(await recordsOf(id)).toMatchObject([{ level: "warn", status: 413, error: { type: "Broken" } }]);
    expect(link.records.filter(({ level }) => level === "error")).toEqual([]);
  });

  it("tells an exception behind the first bytes of an answer as an error, whatever the status", async () => {
    await fetch(`${url}/rooms/quiet/midway`, { headers: { "x-request-id": "midway" } });
    const records = await recordsOf("midway");
    expect(records).toMatchObject([{ level: "error", context: "access", status: 200, error: { type: "Broken" } }]);
  });

  it("tells an exception by itself where no access line tells it", async () => {
    const told = (): Written[] => link.records.filter(({ event }) => event === "exception");
    const call = request(`${url}/rooms/a/late`, { headers: { "x-request-id": "late" } });
    call.on("error", () => undefined);
    call.end();
    await until(() => held.length > 0, "the request");
    call.destroy();
    await recordsOf("late");
    held.pop()?.();
    await until(() => told().length === 1, "an exception when the client is gone");
    expect(told()[0]).toMatchObject({ level: "error", requestId: "late", error: { message: "nobody waits for it" } });

    const host = new ExecutionContextHost([]);
    host.setType("rpc");
    const mistake = new Broken("in a message");
    expect(() => new ExceptionFilter().catch(mistake, host)).toThrow(mistake);
    await until(() => told().length === 2, "an exception of a message");
    expect(told()[1]).toMatchObject({ level: "error", context: "exceptions", error: { message: "in a message" } });

    use(new Core(settings({ levels: { access: "fatal" } }), link));
    const { id } = await get("/rooms/a/broken");
    await until(() => told().length === 3, "an exception without access lines");
    expect(told()[2]).toMatchObject({ level: "error", requestId: id, status: 500, error: { message: "it broke" } });
  });

  it("writes the stack of an error once, where the service told it before", async () => {
    const { id } = await get("/rooms/a/caught");
    const stacks = (await recordsOf(id)).map(({ error }) => (error as Written | undefined)?.stack !== undefined);
    expect(stacks).toEqual([true, false]);
  });

  it("answers as Nest does, and tells what the client did wrong without a stack", async () => {
    const { id, status, body } = await get("/rooms/a/bad?token=abcdef");
    expect([status, body.message]).toEqual([400, "no such thing"]);
    const records = await recordsOf(id);
    expect(records).toHaveLength(1);
    expect(records[0]).toMatchObject({ level: "warn", reason: "BadRequestException", status: 400 });
    expect(records[0]?.metadata).toMatchObject({ detail: "no such thing" });
    expect(records[0]).not.toHaveProperty("error");
    const unknown = await get("/nowhere?token=abcdef");
    expect(unknown.status).toBe(404);
    const lost = await recordsOf(unknown.id);
    expect(lost).toMatchObject([{ level: "warn", reason: "NotFoundException", metadata: { path: "/nowhere" } }]);
    expect(link.taken.join("")).not.toContain("token");
  });

  it("tells of a client that went away", async () => {
    const call = request(`${url}/rooms/held`, { headers: { "x-request-id": "gone" } });
    call.on("error", () => undefined);
    call.end();
    await until(() => held.length > 0, "the request");
    call.destroy();
    const access = (await recordsOf("gone")).find(({ context }) => context === "access");
    expect(access).toMatchObject({ level: "warn", message: "GET /rooms/:room no response" });
    held.pop()?.();
  });

  it("sums up how long handlers take, per route", async () => {
    await Promise.all(["a", "b", "slow"].map((room) => get(`/rooms/${room}`)));
    const performance = app.get(PerformanceInterceptor);
    const [summary] = performance.summary();
    expect(summary).toMatchObject({ method: "GET", route: "/rooms/:room", count: 3 });
    expect(summary?.max).toBeGreaterThan(summary?.p50 ?? 0);
    performance.writeSummary();
    await until(() => link.records.some(({ event }) => event === "performance"), "a summary");
    expect(link.records.find(({ event }) => event === "performance")).toMatchObject({
      route: "/rooms/:room",
      metadata: { count: 3 },
    });
    expect(performance.summary()).toEqual([]);
  });

  it("takes Nest's own calls as Nest means them", async () => {
    const logger = app.get(NestLogger);
    const error = new Broken("x");
    logger.error("failed", error.stack, "Where");
    logger.error(error, "Where");
    logger.verbose({ message: "object", a: 1 }, "Where");
    logger.warn("two", { b: 2 }, "Where");
    await until(() => link.records.filter(({ context }) => context === "Where").length === 4, "four records");
    const [failed, thrown, object, two] = link.records.filter(({ context }) => context === "Where");
    expect(failed).toMatchObject({ level: "error", message: "failed", error: { stack: error.stack } });
    expect(thrown).toMatchObject({ message: "x", error: { type: "Broken", stack: error.stack } });
    expect(object).toMatchObject({ level: "debug", message: "object", metadata: { a: 1 } });
    expect(two).toMatchObject({ level: "warn", metadata: { b: 2 } });
  });
});

describe("live levels", () => {
  let server: Server;
  let answer: { status: number; body?: unknown };
  let asked: (string | undefined)[];

  beforeEach(async () => {
    asked = [];
    answer = { status: 404 };
    server = createServer((incoming, response) => {
      asked.push(incoming.headers["if-none-match"]);
      const body = JSON.stringify(answer.body ?? {});
      const etag = `"${Buffer.from(body).toString("base64url")}"`;
      const same = incoming.headers["if-none-match"] === etag;
      response.writeHead(same ? 304 : answer.status, answer.status === 200 ? { etag } : {});
      response.end(same ? undefined : body);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });

  afterEach(() => {
    server.closeAllConnections();
    server.close();
  });

  it("apply as the endpoint says, by logger, until they expire", async () => {
    const levelUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/levels/test`;
    const core = use(new Core(settings({ levelUrl, levelEveryMs: 20 }), link));
    await until(() => asked.length > 0, "a first question");
    expect(core.isEnabled("debug", "app.db.pool")).toBe(false);

    answer = { status: 200, body: { levels: { "app.db": "trace", "*": "warn" } } };
    await until(() => core.isEnabled("trace", "app.db.pool"), "the new level");
    expect(core.isEnabled("info", "other")).toBe(false);
    await until(() => asked.at(-1) !== undefined, "a question with the ETag");
    expect(core.isEnabled("trace", "app.db.pool")).toBe(true);

    answer = { status: 500 };
    const before = asked.length;
    await until(() => asked.length > before + 1, "answers that are none");
    expect(core.isEnabled("trace", "app.db.pool")).toBe(true);

    answer = { status: 200, body: { levels: { "*": "loud" } } };
    await until(() => asked.length > before + 4, "a level that does not exist");
    expect(core.isEnabled("trace", "app.db.pool")).toBe(true);

    const expiresAt = new Date(Date.now() + 500).toISOString();
    answer = { status: 200, body: { levels: { "app.api": "debug" }, expiresAt } };
    await until(() => core.isEnabled("debug", "app.api"), "the last level");
    server.closeAllConnections();
    server.close();
    await until(() => !core.isEnabled("debug", "app.api"), "the expiry");
    expect(core.isEnabled("info", "app.api")).toBe(true);
    await core.close();
  });
});
