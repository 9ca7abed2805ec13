// Confluent's client for JavaScript, by its own (callback) interface: librdkafka, bound to Node.
"use strict";

const { AdminClient, CODES, HighLevelProducer, KafkaConsumer } = require("@confluentinc/kafka-javascript");
const { OffsetSpec } = AdminClient;
const { version: VERSION } = require("@confluentinc/kafka-javascript/package.json");
const { TIMEOUT_MS, decoded, encoded, serve, within } = require("./driver");

const BOOTSTRAP = { "bootstrap.servers": process.argv[2] };
const BEGINNING = -2;
const POLL_MS = 100;
const MOST_RECORDS = 500;

const admin = AdminClient.create({ ...BOOTSTRAP });

// Calls a method that takes a callback last, and waits for it.
const call = (client, method, ...parameters) =>
  new Promise((resolve, reject) => {
    client[method](...parameters, (error, result) => (error ? reject(error) : resolve(result)));
  });

// An empty buffer as Node makes it has no address, and the client takes that for no value; a cut of another one has an address.
const bytes = (text) => (text === "" ? Buffer.alloc(1).subarray(1) : decoded(text));

async function produce({ topic, partition, codec, acks, idempotent, records }) {
  const producer = new HighLevelProducer({
    ...BOOTSTRAP,
    "compression.type": codec,
    acks,
    "enable.idempotence": idempotent,
    "linger.ms": 50,
    "message.timeout.ms": TIMEOUT_MS,
    "message.max.bytes": 20_000_000,
  });
  await call(producer, "connect", {});
  producer.setPollInterval(POLL_MS);
  try {
    const sent = records.map(({ key, value, headers, timestamp }) => {
      const pairs = headers.map(([name, header]) => ({ [name]: bytes(header) }));
      return call(producer, "produce", topic, partition ?? -1, bytes(value), bytes(key), timestamp ?? null, pairs);
    });
    return { offsets: await within(Promise.all(sent), () => "records are left in the producer") };
  } finally {
    await call(producer, "disconnect");
  }
}

function recordAnswer({ offset, timestamp, key, value, headers }) {
  const pairs = (headers ?? []).flatMap((header) => Object.entries(header));
  return {
    offset,
    timestamp,
    key: encoded(key),
    value: encoded(value),
    headers: pairs.map(([name, header]) => [name, encoded(header)]),
  };
}

async function consume({ topic, partition, count, offset, time }) {
  const consumer = new KafkaConsumer({ ...BOOTSTRAP, "group.id": "unused", "enable.auto.commit": false }, {
    "auto.offset.reset": "error",
  });
  await call(consumer, "connect", {});
  try {
    let start = { topic, partition, offset: offset ?? BEGINNING };
    if (time !== undefined) {
      [start] = await call(consumer, "offsetsForTimes", [{ topic, partition, offset: time }], TIMEOUT_MS);
    }
    consumer.assign([start]);
    consumer.setDefaultConsumeTimeout(POLL_MS);
    const records = [];
    const read = async () => {
      while (records.length < count) {
        records.push(...(await call(consumer, "consume", count - records.length)));
      }
    };
    await within(read(), () => `${records.length} of ${count} records came`);
    return { records: records.map(recordAnswer) };
  } finally {
    await call(consumer, "disconnect");
  }
}

// The member of a group that this process is at present.
class Member {
  async join({ group, topic, session_ms: sessionMs, heartbeat_ms: heartbeatMs, instance, cooperative }) {
    const options = {
      ...BOOTSTRAP,
      "group.id": group,
      "enable.auto.commit": false,
      "session.timeout.ms": sessionMs,
      "heartbeat.interval.ms": heartbeatMs,
      ...(instance ? { "group.instance.id": instance } : {}),
      ...(cooperative ? { "partition.assignment.strategy": "cooperative-sticky" } : {}),
    };
    this.consumer = new KafkaConsumer(options, { "auto.offset.reset": "earliest" });
    await call(this.consumer, "connect", {});
    this.consumer.setDefaultIsTimeoutOnlyForFirstMessage(true);
    this.consumer.subscribe([topic]);
    return {};
  }

  async poll({ ms }) {
    this.consumer.setDefaultConsumeTimeout(ms);
    const polled = await call(this.consumer, "consume", MOST_RECORDS);
    const owned = this.consumer.assignments().map((one) => one.partition);
    return {
      records: polled.map(({ partition, offset, key, value }) => [partition, offset, encoded(key), encoded(value)]),
      owned: owned.sort((one, other) => one - other),
    };
  }

  async commit() {
    try {
      this.consumer.commitSync();
    } catch (error) {
      if (error.code !== CODES.ERRORS.ERR__NO_OFFSET) {
        throw error;
      }
    }
    return {};
  }

  async leave() {
    await call(this.consumer, "disconnect");
    return {};
  }
}

const member = new Member();

const failed = ({ error, ...rest }) => {
  if (error) {
    throw error;
  }
  return rest;
};

async function listOffset({ topic, partition, at }) {
  const specs = { earliest: OffsetSpec.EARLIEST, latest: OffsetSpec.LATEST };
  const asked = [{ topic, partition, offset: specs[at] ?? new OffsetSpec(at) }];
  const [found] = await call(admin, "listOffsets", asked, { timeout: TIMEOUT_MS });
  return { offset: failed(found).offset };
}

async function createTopic({ topic, partitions, configs }) {
  const wanted = { topic, num_partitions: partitions, replication_factor: 1, config: configs };
  await call(admin, "createTopic", wanted, TIMEOUT_MS);
  return {};
}

async function describeTopic({ topic }) {
  const [described] = await call(admin, "describeTopics", [topic], { timeout: TIMEOUT_MS });
  const ids = (nodes) => nodes.map((node) => node.id);
  const { partitions } = failed(described);
  return { partitions: partitions.map((one) => [one.partition, one.leader.id, ids(one.replicas), ids(one.isr)]) };
}

async function deleteRecords({ topic, partition, before }) {
  const [deleted] = await call(admin, "deleteRecords", [{ topic, partition, offset: before }], { timeout: TIMEOUT_MS });
  return { low_watermark: failed(deleted).lowWatermark };
}

async function describeGroup({ group }) {
  const [described] = (await call(admin, "describeGroups", [group], { timeout: TIMEOUT_MS })).groups;
  const { state, members } = failed(described);
  const name = Object.keys(AdminClient.ConsumerGroupStates).find((one) => AdminClient.ConsumerGroupStates[one] === state);
  return { state: name[0] + name.slice(1).toLowerCase(), members: members.length };
}

async function groupOffset({ group, topic, partition }) {
  const asked = [{ groupId: group, partitions: [{ topic, partition }] }];
  const [found] = await call(admin, "listConsumerGroupOffsets", asked, { timeout: TIMEOUT_MS });
  const { offset } = failed(failed(found).partitions[0]);
  return { offset: offset == null || offset < 0 ? null : offset };
}

const operations = {
  version: async () => ({ version: VERSION }),
  produce,
  consume,
  group_join: (request) => member.join(request),
  group_poll: (request) => member.poll(request),
  group_commit: () => member.commit(),
  group_leave: () => member.leave(),
  list_offset: listOffset,
  create_topic: createTopic,
  list_topics: async () => ({ topics: (await call(admin, "listTopics", { timeout: TIMEOUT_MS })).sort() }),
  describe_topic: describeTopic,
  delete_topic: async ({ topic }) => call(admin, "deleteTopic", topic, TIMEOUT_MS).then(() => ({})),
  create_partitions: async ({ topic, total }) => call(admin, "createPartitions", topic, total, TIMEOUT_MS).then(() => ({})),
  delete_records: deleteRecords,
  list_groups: async () => ({
    groups: (await call(admin, "listGroups", { timeout: TIMEOUT_MS })).groups.map((one) => one.groupId).sort(),
  }),
  describe_group: describeGroup,
  group_offset: groupOffset,
  delete_group: async ({ group }) => {
    const [deleted] = await call(admin, "deleteGroups", [group], { timeout: TIMEOUT_MS });
    failed(deleted);
    return {};
  },
};

const errorCode = (error) => (typeof error.code === "number" ? error.code : null);

serve(operations, errorCode, async () => admin.disconnect());
