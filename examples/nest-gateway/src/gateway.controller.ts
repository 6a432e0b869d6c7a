// The gateway's routes: each asks the service behind it.

import { Body, Controller, Get, Headers, HttpCode, Inject, Param, Post } from "@nestjs/common";
import { bind } from "servicelog";
import { Upstream } from "./upstream.js";

interface User {
  id: string;
}

@Controller("v1")
export class GatewayController {
  readonly #upstream: Upstream;

  constructor(@Inject(Upstream) upstream: Upstream) {
    this.#upstream = upstream;
  }

  @Post("login")
  @HttpCode(200)
  login(@Body() body: unknown): Promise<unknown> {
    return this.#upstream.call({ upstream: "auth", method: "POST", path: "/v1/login", body });
  }

  @Get("users/me")
  async me(@Headers("authorization") authorization?: string): Promise<unknown> {
    const { id } = await this.#whoIs(authorization);
    return this.#upstream.call({
      upstream: "user",
      method: "GET",
      path: `/v1/users/${encodeURIComponent(id)}`,
      authorization,
    });
  }

  @Post("rooms/:id/messages")
  async send(
    @Param("id") room: string,
    @Body() body: object,
    @Headers("authorization") authorization?: string,
  ): Promise<unknown> {
    bind({ conversationId: room });
    const { id } = await this.#whoIs(authorization);
    const path = `/v1/rooms/${encodeURIComponent(room)}/messages`;
    return this.#upstream.call({
      upstream: "chat",
      method: "POST",
      path,
      body: { ...body, userId: id },
      authorization,
    });
  }

  async #whoIs(authorization: string | undefined): Promise<User> {
    const user = await this.#upstream.call<User>({
      upstream: "auth",
      method: "GET",
      path: "/v1/verify",
      authorization,
    });
    bind({ userId: user.id });
    return user;
  }
}
