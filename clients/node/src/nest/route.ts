// The route of a request: its template, as `/rooms/:room`.

/** What the library's middleware is mounted at; a request that has no route but this one has none. */
export const EVERYWHERE = "{*path}";

export interface Routed {
  baseUrl?: string;
  route?: { path?: unknown };
}

export function routeOf({ baseUrl = "", route }: Routed): string | undefined {
  return typeof route?.path === "string" && !route.path.endsWith(EVERYWHERE) ? baseUrl + route.path : undefined;
}
