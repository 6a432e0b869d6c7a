// Logs of services: one JSON object each, without secrets, into Kafka, never in the service's way.

export { bind, bound, current, newRequestId, only, propagation, takenOver } from "./context.js";
export { type Core, close, configure, metrics } from "./core.js";
export { LEVELS, type Level } from "./levels.js";
export { getLogger, Logger } from "./logger.js";
export { Durations, type Metrics, type Percentiles } from "./metrics.js";
export { type Call, type Fields, type RecordOptions, RecordWriter } from "./record.js";
export { type Settings, SettingsError } from "./settings.js";
export { KafkaTransport } from "./transport.js";
