// kafkajs: JavaScript alone. It compresses with gzip itself, and with the others by codecs that are registered with it.
"use strict";

const { randomUUID } = require("node:crypto");
const { EventEmitter, once } = require("node:events");
const {
  CompressionCodecs,
  CompressionTypes,
  ConfigResourceTypes,
  Kafka,
  KafkaJSProtocolError,
  Partitioners,
  logLevel,
} = require("kafkajs");
const { version: VERSION } = require("kafkajs/package.json");
const Lz4 = require("@2l/kafkajs-lz4");
const snappy = require("kafkajs-snappy");
const zstd = require("@bokuweb/zstd-wasm");
const { decoded, encoded, serve, within } = require("./driver");

const FETCH_WAIT_MS = 100;

// @kafkajs/zstd is bound to a library that does not compile for Node 20.
const zstdReady = zstd.init();
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async (encoder) => zstdReady.then(() => Buffer.from(zstd.compress(encoder.buffer))),
  decompress: async (buffer) => zstdReady.then(() => Buffer.from(zstd.decompress(buffer))),
});
CompressionCodecs[CompressionTypes.LZ4] = new Lz4().codec;
CompressionCodecs[CompressionTypes.Snappy] = snappy;
const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
};
const ACKS = { 0: 0, 1: 1, all: -1 };
const TYPES = { topic: ConfigResourceTypes.TOPIC, broker: ConfigResourceTypes.BROKER };

const kafka = new Kafka({
  brokers: [process.argv[2]],
  logLevel: logLevel.WARN,
  logCreator: () => (entry) => console.error(JSON.stringify(entry)), // stdout is for answers
});
const admin = kafka.admin();

// Headers are a map here; one that is there several times has a list.
function headerMap(headers) {
  const map = {};
  for (const [name, value] of headers) {
    map[name] = name in map ? [map[name], decoded(value)].flat() : decoded(value);
  }
  return map;
}

const headerList = (map) =>
  Object.entries(map ?? {}).flatMap(([name, values]) => [values].flat().map((value) => [name, encoded(value)]));

async function produce({ topic, partition, codec, acks, idempotent, records }) {
  const producer = kafka.producer({
    idempotent,
    maxInFlightRequests: idempotent ? 1 : null,
    createPartitioner: Partitioners.DefaultPartitioner, // named, or it warns that it once was another one
  });
  await producer.connect();
  try {
    const messages = records.map(({ key, value, headers, timestamp }) => ({
      partition: partition ?? undefined,
      key: decoded(key),
      value: decoded(value),
      headers: headerMap(headers),
      timestamp: timestamp === undefined ? undefined : String(timestamp),
    }));
    const sent = await producer.send({ topic, acks: ACKS[acks], compression: CODECS[codec], messages });
    // What is sent at once is one batch for each partition, and only its first offset is told; with acks=0 nothing is.
    const [first] = acks === "0" || sent.length > 1 ? [] : sent;
    return { offsets: first === undefined ? null : records.map((_, index) => Number(first.baseOffset) + index) };
  } finally {
    await producer.disconnect();
  }
}

// It consumes as a member of a group only: of one made for this, which begins at the end until it is told where to go.
async function consume({ topic, partition, count, offset, time }) {
  let start = offset;
  if (time !== undefined) {
    start = (await admin.fetchTopicOffsetsByTimestamp(topic, time)).find((one) => one.partition === partition).offset;
  }
  const consumer = kafka.consumer({ groupId: `reader-${randomUUID()}`, maxWaitTimeInMs: FETCH_WAIT_MS });
  const records = [];
  await consumer.connect();
  try {
    await consumer.subscribe({ topic, fromBeginning: start === undefined });
    const all = new Promise((resolve, reject) => {
      consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
      const eachMessage = async ({ partition: from, message }) => {
        if (from === partition && records.length < count) {
          records.push({
            offset: Number(message.offset),
            timestamp: Number(message.timestamp),
            key: encoded(message.key),
            value: encoded(message.value),
            headers: headerList(message.headers),
          });
        }
        if (records.length === count) {
          resolve();
        }
      };
      consumer
        .run({ autoCommit: false, eachMessage })
        .then(() => start === undefined || consumer.seek({ topic, partition, offset: String(start) }))
        .catch(reject);
    });
    await within(all, () => `${records.length} of ${count} records came`);
    return { records };
  } finally {
    await consumer.disconnect();
  }
}

// The member of a group that this process is at present. The client pushes records: they wait here until they are asked for. When
// the group is shared out anew the client begins again at what was committed, and so what waits is dropped.
class Member {
  async join({ group, topic, session_ms: sessionTimeout, heartbeat_ms: heartbeatInterval }) {
    const maxWaitTimeInMs = FETCH_WAIT_MS;
    this.topic = topic;
    this.arrivals = new EventEmitter();
    this.failure = null;
    this.own([]);
    this.consumer = kafka.consumer({ groupId: group, sessionTimeout, heartbeatInterval, maxWaitTimeInMs });
    const { CRASH, GROUP_JOIN, REBALANCING } = this.consumer.events;
    this.consumer.on(REBALANCING, () => this.own([]));
    this.consumer.on(GROUP_JOIN, ({ payload }) => this.own(payload.memberAssignment[topic] ?? []));
    this.consumer.on(CRASH, ({ payload }) => (this.failure = payload.restart ? null : payload.error));
    await this.consumer.connect();
    await this.consumer.subscribe({ topic, fromBeginning: true });
    const eachMessage = async ({ partition, message }) => {
      this.waiting.push([partition, Number(message.offset), encoded(message.key), encoded(message.value)]);
      this.arrivals.emit("record");
    };
    // It ends only once the group has let it in, for which nobody waits here.
    this.consumer.run({ autoCommit: false, eachMessage }).catch((error) => (this.failure = error));
    return {};
  }

  own(partitions) {
    this.owned = [...partitions].sort((one, other) => one - other);
    this.waiting = [];
    this.positions = new Map();
  }

  async poll({ ms }) {
    if (this.waiting.length === 0) {
      await once(this.arrivals, "record", { signal: AbortSignal.timeout(ms) }).catch(() => {});
    }
    if (this.failure) {
      throw this.failure;
    }
    const records = this.waiting;
    this.waiting = [];
    for (const [partition, offset] of records) {
      this.positions.set(partition, offset + 1);
    }
    return { records, owned: this.owned };
  }

  async commit() {
    const offsets = [...this.positions].map(([partition, offset]) => ({ topic: this.topic, partition, offset: String(offset) }));
    if (offsets.length > 0) {
      await this.consumer.commitOffsets(offsets);
    }
    return {};
  }

  async leave() {
    await this.consumer.disconnect();
    return {};
  }
}

const member = new Member();

async function listOffset({ topic, partition, at }) {
  const wanted = ["earliest", "latest"].includes(at)
    ? await admin.fetchTopicOffsets(topic)
    : await admin.fetchTopicOffsetsByTimestamp(topic, at);
  const found = wanted.find((one) => one.partition === partition);
  return { offset: Number(at === "earliest" ? found.low : found.offset) };
}

async function createTopic({ topic, partitions, configs }) {
  const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }));
  const created = await admin.createTopics({
    topics: [{ topic, numPartitions: partitions, replicationFactor: 1, configEntries }],
  });
  if (!created) {
    // This one refusal it tells by its answer.
    throw Object.assign(new Error(`${topic} exists`), { code: 36 });
  }
  return {};
}

async function describeTopic({ topic }) {
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
  const partitions = topics[0].partitions.map((one) => [one.partitionId, one.leader, one.replicas, one.isr]);
  return { partitions: partitions.sort((one, other) => one[0] - other[0]) };
}

async function deleteRecords({ topic, partition, before }) {
  await admin.fetchTopicOffsets(topic); // it deletes only from topics that it has asked about
  await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(before) }] });
  return { low_watermark: null };
}

async function describeConfigs({ type, name }) {
  const { resources } = await admin.describeConfigs({ resources: [{ type: TYPES[type], name }], includeSynonyms: false });
  return { configs: Object.fromEntries(resources[0].configEntries.map((one) => [one.configName, one.configValue])) };
}

async function alterConfigs({ type, name, set }) {
  const configEntries = Object.entries(set).map(([option, value]) => ({ name: option, value }));
  await admin.alterConfigs({ validateOnly: false, resources: [{ type: TYPES[type], name, configEntries }] });
  return {};
}

async function describeCluster() {
  const { brokers, controller, clusterId } = await admin.describeCluster();
  return { cluster_id: clusterId, controller, brokers: brokers.map((one) => [one.nodeId, one.host, one.port]) };
}

async function groupOffset({ group, topic, partition }) {
  const [{ partitions }] = await admin.fetchOffsets({ groupId: group, topics: [topic] });
  const offset = Number(partitions.find((one) => one.partition === partition).offset);
  return { offset: offset < 0 ? null : offset };
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
  list_topics: async () => ({ topics: (await admin.listTopics()).sort() }),
  describe_topic: describeTopic,
  delete_topic: async ({ topic }) => admin.deleteTopics({ topics: [topic] }).then(() => ({})),
  create_partitions: async ({ topic, total }) =>
    admin.createPartitions({ topicPartitions: [{ topic, count: total }] }).then(() => ({})),
  delete_records: deleteRecords,
  describe_configs: describeConfigs,
  alter_configs: alterConfigs,
  describe_cluster: describeCluster,
  list_groups: async () => ({ groups: (await admin.listGroups()).groups.map((one) => one.groupId).sort() }),
  describe_group: async ({ group }) => {
    const [{ state, members }] = (await admin.describeGroups([group])).groups;
    return { state, members: members.length };
  },
  group_offset: groupOffset,
  alter_group_offset: async ({ group, topic, partition, offset }) =>
    admin.setOffsets({ groupId: group, topic, partitions: [{ partition, offset: String(offset) }] }).then(() => ({})),
  delete_group: async ({ group }) => admin.deleteGroups([group]).then(() => ({})),
};

// The code of an error, of what caused it, or of the first that it holds.
function errorCode(error) {
  const own = error instanceof KafkaJSProtocolError || error.code === 36 ? error.code : undefined;
  return own ?? [error.cause, ...(error.errors ?? [])].filter(Boolean).map(errorCode).find((code) => code !== null) ?? null;
}

admin.connect().then(() => serve(operations, errorCode, () => admin.disconnect()));
