import { describe, expect, it } from "vitest";
import { RecordWriter } from "../src/record.js";
import { CASES, recordOf, value } from "./vectors.js";

describe("every case of the contract is written byte for byte", () => {
  it.each(CASES.map((one) => [one.name, one] as const))("%s", (_, one) => {
    const writer = new RecordWriter(one.service, {
      redactNames: one.config?.redact_names,
      redactEmails: one.config?.redact_emails,
    });
    const record = writer.write({
      timestampMs: Date.parse(one.now),
      level: value(one.call.level),
      message: value(one.call.message),
      fields: { ...(value(one.bound ?? {}) as object), ...(value(one.call.fields ?? {}) as object) },
      error: value(one.call.error) as Error | undefined,
    });
    expect(record.toString()).toBe(recordOf(one));
  });
});
