export { ExceptionFilter } from "./exception.filter.js";
export { NestLogger } from "./logger.service.js";
export { LoggerModule, type LoggerModuleOptions, SERVICELOG } from "./module.js";
export { PerformanceInterceptor, type RouteSummary } from "./performance.interceptor.js";
export { RequestMiddleware } from "./request.middleware.js";
