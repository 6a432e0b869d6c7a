// The gateway: routes, and the logging library around them.

import "reflect-metadata";
import { type INestApplication, Module } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { LoggerModule, NestLogger } from "servicelog/nest";
import { GatewayController } from "./gateway.controller.js";
import { HealthController } from "./health.controller.js";
import { Upstream } from "./upstream.js";

/** Make the gateway; settings that are not given here come from the environment, as SERVICELOG_KAFKA. */
export async function makeGateway(): Promise<INestApplication> {
  @Module({
    imports: [LoggerModule.forRoot({ service: "api-gateway", redactEmails: true, quiet: ["/health", "/metrics"] })],
    controllers: [GatewayController, HealthController],
    providers: [Upstream],
  })
  class Gateway {}

  const app = await NestFactory.create(Gateway, { bufferLogs: true });
  app.useLogger(app.get(NestLogger));
  app.enableShutdownHooks();
  return app;
}
