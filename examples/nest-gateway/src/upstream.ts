// Calls to the services behind the gateway, with the request's identity.

import { HttpException, Injectable } from "@nestjs/common";
import { getLogger, propagation } from "servicelog";

const TIMEOUT_MS = 5_000;

export interface Call {
  upstream: "auth" | "user" | "chat";
  method: "GET" | "POST";
  path: string;
  body?: unknown;
  authorization?: string | undefined;
}

@Injectable()
export class Upstream {
  readonly #log = getLogger("Upstream");

  /** Make a call, and return the answer's body. Throws an HttpException: of the same status below 500, else of 502. */
  async call<Answer>({ upstream, method, path, body, authorization }: Call): Promise<Answer> {
    const fields = { upstream, method, upstreamPath: path };
    return this.#log.timed(
      "Upstream called",
      async () => {
        const response = await fetch(new URL(path, address(upstream)), {
          method,
          headers: {
            ...propagation(),
            ...(body !== undefined && { "content-type": "application/json" }),
            ...(authorization && { authorization }),
          },
          ...(body !== undefined && { body: JSON.stringify(body) }),
          signal: AbortSignal.timeout(TIMEOUT_MS),
        }).catch((error: unknown) => {
          throw new HttpException(`${upstream} does not answer`, 502, { cause: error });
        });
        const answer: unknown = await response.json().catch(() => ({}));
        if (!response.ok) throw new HttpException(answer as object, response.status < 500 ? response.status : 502);
        return answer as Answer;
      },
      fields,
    );
  }
}

function address(upstream: string): string {
  const name = `${upstream.toUpperCase()}_URL`;
  const url = process.env[name];
  if (!url) throw new Error(`${name} is not set: where is the ${upstream} service?`);
  return url;
}
