// A real Kafka, where the tests were given one: KAFKA_BOOTSTRAP, and KAFKA_PID to hold it up.

import { randomUUID } from "node:crypto";
import { Admin, Consumer } from "@platformatic/kafka";

export const BOOTSTRAP = process.env.KAFKA_BOOTSTRAP ?? "";
export const KAFKA_PID = Number(process.env.KAFKA_PID ?? 0);

export interface Read {
  key: string;
  value: string;
  partition: number;
}

/** A topic of a name that nobody else has. */
export async function makeTopic(partitions = 1, configs: Record<string, string> = {}): Promise<string> {
  const admin = new Admin({ clientId: "test", bootstrapBrokers: [BOOTSTRAP] });
  const topic = `test-${randomUUID()}`;
  const settings = Object.entries(configs).map(([name, value]) => ({ name, value }));
  await admin.createTopics({ topics: [topic], partitions, replicas: 1, configs: settings });
  await admin.close();
  return topic;
}

/** Read a topic from its start, until `enough` says so. */
export async function readTopic(topic: string, enough: (records: Read[]) => boolean): Promise<Read[]> {
  const consumer = new Consumer({ groupId: randomUUID(), clientId: "test", bootstrapBrokers: [BOOTSTRAP] });
  const stream = await consumer.consume({ topics: [topic], mode: "earliest", autocommit: false, maxWaitTime: 200 });
  const records: Read[] = [];
  for await (const { key, value, partition } of stream) {
    records.push({ key: String(key), value: String(value), partition });
    if (enough(records)) break;
  }
  await consumer.close(true);
  return records;
}
