// Whether the gateway serves, and what became of its records.

import { Controller, Get } from "@nestjs/common";
import { type Metrics, metrics } from "servicelog";

@Controller()
export class HealthController {
  @Get("health")
  health(): object {
    return { status: "ok" };
  }

  @Get("metrics")
  metrics(): Metrics | undefined {
    return metrics();
  }
}
