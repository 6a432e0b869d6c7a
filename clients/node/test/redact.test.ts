import { describe, expect, it } from "vitest";
import { RecordWriter } from "../src/record.js";
import { chance } from "./parts.js";

const JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2VjcmV0c2VjcmV0";
const SECRETS = [JWT, "Bearer abcdef123456", "password=hunter2", "4111 1111 1111 1111", "postgres://app:hunter2@db"];
const VISIBLE = [JWT, "abcdef123456", "hunter2", "4111 1111 1111 1111"];

/** A value of any shape with a secret somewhere in it. */
function hidden(next: (below: number) => number, depth = 0): unknown {
  const secret = SECRETS[next(SECRETS.length)] ?? "";
  switch (next(depth > 6 ? 2 : 8)) {
    case 0:
      return `${"é".repeat(next(3))} ${secret} ${"x".repeat(next(9_000))}`;
    case 1:
      return { userPassword: "hunter2", apiKey: [VISIBLE] };
    case 2:
      return [next(10), hidden(next, depth + 1)];
    case 3:
      return new Map([[secret, hidden(next, depth + 1)]]);
    case 4:
      return new Set([hidden(next, depth + 1)]);
    case 5:
      return new Error(secret, { cause: hidden(next, depth + 1) });
    case 6:
      return { toString: () => secret };
    default:
      return { [`k${next(9)}`]: hidden(next, depth + 1), when: new Date(0) };
  }
}

describe("redaction", () => {
  it("lets no secret through, wherever it is placed", () => {
    const writer = new RecordWriter("test");
    for (let seed = 0; seed < 2_000; seed += 1) {
      const next = chance(seed);
      const error = new Error(SECRETS[next(SECRETS.length)], { cause: new Error(SECRETS[next(SECRETS.length)]) });
      const call = {
        level: next(5) === 0 ? JWT : "info",
        message: hidden(next),
        fields: { context: hidden(next), route: "/x?token=hunter2", any: hidden(next), more: hidden(next) },
      };
      const record = writer.write({ timestampMs: seed, ...call, error }).toString();
      for (const secret of VISIBLE) expect(record.includes(secret), `seed ${seed}: ${record}`).toBe(false);
      JSON.parse(record);
    }
  });

  it("takes time in proportion to the text", () => {
    const writer = new RecordWriter("test", { redactEmails: true });
    for (const piece of ["eyJa", "a.", "4 ", "41-", "bearer ", "://a:", "token=", 'token"', "a@", "token  "]) {
      const text = piece.repeat(400_000 / piece.length);
      expect(writer.write({ timestampMs: 0, level: "info", message: text }).length).toBeLessThan(100_000);
    }
  });
});
