import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["clients/node/test/**/*.test.ts", "examples/nest-gateway/test/**/*.test.ts"],
    // Some tests hold Kafka up: files take turns.
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
