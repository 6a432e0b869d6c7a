// The gateway's routes: each asks the services behind it.

import type { IncomingHttpHeaders } from "node:http";
import { Body, Controller, Get, Headers, HttpCode, Inject, Ip, Param, Patch, Post } from "@nestjs/common";
import { bind, getLogger } from "servicelog";
import { Upstream } from "./upstream.js";

interface User {
  id: string;
  name: string;
  displayName: string;
}

@Controller("v1")
export class GatewayController {
  readonly #upstream: Upstream;
  readonly #log = getLogger("Gateway");

  constructor(@Inject(Upstream) upstream: Upstream) {
    this.#upstream = upstream;
  }

  @Post("login")
  @HttpCode(200)
  login(@Body() body: unknown, @Headers() headers: IncomingHttpHeaders, @Ip() peer: string): Promise<unknown> {
    // Behind a load balancer it says who asks; without one, the connection does.
    const from = { "x-forwarded-for": peer, ...headers };
    return this.#upstream.call({ upstream: "auth", method: "POST", route: "/v1/login", body, headers: from });
  }

  @Post("users")
  async register(
    @Body() { password, ...body }: Record<string, unknown>,
    @Headers() headers: IncomingHttpHeaders,
  ): Promise<unknown> {
    const user = await this.#upstream.call<User>({
      upstream: "user",
      method: "POST",
      route: "/v1/users",
      body,
      headers,
    });
    bind({ userId: user.id });
    await this.#upstream.call({
      upstream: "auth",
      method: "PUT",
      route: "/v1/credentials/{user}",
      path: { user: user.id },
      body: { name: user.name, password },
      headers,
    });
    return user;
  }

  @Get("users/me")
  async readMe(@Headers() headers: IncomingHttpHeaders): Promise<unknown> {
    const user = await this.#whoIs(headers);
    if (process.env.CHAT_FAULTS === "1" && headers["x-fault"] === "gateway:exception") {
      throw new Error(`no view is made for ${user}`);
    }
    return this.#profile(user, headers);
  }

  @Patch("users/me")
  async changeMe(@Body() body: object, @Headers() headers: IncomingHttpHeaders): Promise<unknown> {
    const path = { user: await this.#whoIs(headers) };
    return this.#upstream.call({ upstream: "user", method: "PATCH", route: "/v1/users/{user}", path, body, headers });
  }

  @Post("rooms/:room/messages")
  async send(
    @Param("room") room: string,
    @Body() body: object,
    @Headers() headers: IncomingHttpHeaders,
  ): Promise<unknown> {
    const userId = await this.#whoIs(headers);
    bind({ conversationId: room });
    const { displayName } = await this.#profile(userId, headers);
    return this.#upstream.call({
      upstream: "chat",
      method: "POST",
      route: "/v1/rooms/{room}/messages",
      path: { room },
      body: { ...body, userId, author: displayName },
      headers,
    });
  }

  @Get("rooms/:room/messages")
  async read(@Param("room") room: string, @Headers() headers: IncomingHttpHeaders): Promise<unknown> {
    const userId = await this.#whoIs(headers);
    bind({ conversationId: room });
    return this.#upstream.call({
      upstream: "chat",
      method: "GET",
      route: "/v1/rooms/{room}/messages",
      path: { room },
      query: { userId },
      headers,
    });
  }

  /** Have the token checked; whose it is, is bound to the request. */
  async #whoIs(headers: IncomingHttpHeaders): Promise<string> {
    // What a client sends is worth a look when it cannot log in. The library takes its credentials out.
    this.#log.debug("Request came in", { event: "request", headers });
    const user = await this.#upstream.call<User>({ upstream: "auth", method: "GET", route: "/v1/verify", headers });
    bind({ userId: user.id });
    return user.id;
  }

  #profile(user: string, headers: IncomingHttpHeaders): Promise<User> {
    return this.#upstream.call({ upstream: "user", method: "GET", route: "/v1/users/{user}", path: { user }, headers });
  }
}
