// The driver of @platformatic/kafka: what scripts/interop asks for, carried out by its Producer, Consumer and Admin.
//
// Reading uses Consumer.fetch, for Consumer.consume reads only as a member of a group.

import { serve, installed, bytes, text, portions, offsetsOf, PATIENCE_MS, FETCH_WAIT_MS } from '../../lib/driver.mjs'
import { extras } from './extras.mjs'

const [cacheDir, address] = process.argv.slice(2)
const { require, version } = installed(cacheDir)
const library = require('@platformatic/kafka')
const {
  Admin,
  Consumer,
  Producer,
  ProduceAcks,
  ConfigResourceTypes,
  IncrementalAlterConfigOperationTypes,
  ListOffsetTimestamps
} = library

const RETRY_DELAY_MS = 250
const PARTITION_BYTES_MAX = 4 << 20
const LOG_APPEND_TIME = 8
const common = {
  clientId: 'interop',
  bootstrapBrokers: [address],
  retries: PATIENCE_MS / RETRY_DELAY_MS,
  retryDelay: RETRY_DELAY_MS,
  timeout: 30_000,
  metadataMaxAge: 1000
}
const admin = new Admin(common)
const consumer = new Consumer({ ...common, groupId: 'unused' })
const producers = new Map()
const acknowledgements = { 0: ProduceAcks.NO_RESPONSE, 1: ProduceAcks.LEADER, all: ProduceAcks.ALL }
let tail

async function hello() {
  return {
    client: '@platformatic/kafka',
    version: version('@platformatic/kafka'),
    language: 'JavaScript',
    codecs: ['none', 'gzip', 'snappy', 'lz4', 'zstd'],
    acks: ['0', '1', 'all'],
    can: [
      'idempotent',
      'headers',
      'null_value',
      'null_key',
      'timestamps',
      'read_timestamp',
      'by_timestamp',
      'tail',
      'create_topic',
      'delete_topic',
      'alter_topic',
      'describe_topic',
      'add_partitions',
      'delete_records',
      'list_topics',
      'extras'
    ],
    cannot: {}
  }
}

async function create_topic({ topic, partitions, configs }) {
  const entries = Object.entries(configs ?? {}).map(([name, value]) => ({ name, value }))
  await admin.createTopics({ topics: [topic], partitions, replicas: 1, configs: entries })
}

async function alter_topic({ topic, configs }) {
  const changes = Object.entries(configs).map(([name, value]) => ({
    name,
    value,
    configOperation: IncrementalAlterConfigOperationTypes.SET
  }))
  await admin.incrementalAlterConfigs({
    resources: [{ resourceType: ConfigResourceTypes.TOPIC, resourceName: topic, configs: changes }]
  })
}

async function describe_topic({ topic }) {
  const metadata = await admin.metadata({ topics: [topic], forceUpdate: true })
  const [{ configs }] = await admin.describeConfigs({
    resources: [{ resourceType: ConfigResourceTypes.TOPIC, resourceName: topic, configurationKeys: null }]
  })
  return {
    partitions: metadata.topics.get(topic).partitionsCount,
    configs: Object.fromEntries(configs.map(({ name, value }) => [name, value]))
  }
}

async function add_partitions({ topic, count }) {
  await admin.createPartitions({ topics: [{ name: topic, count, assignments: null }] })
}

async function delete_records({ topic, partition, before }) {
  const [answer] = await admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition, offset: BigInt(before) }] }] })
  return { low: Number(answer.partitions[0].lowWatermark) }
}

async function delete_topic({ topic }) {
  await admin.deleteTopics({ topics: [topic] })
}

async function list_topics() {
  return { topics: await admin.listTopics({ includeInternals: true }) }
}

async function offsetAt(topic, partition, timestamp) {
  const [answer] = await admin.listOffsets({ topics: [{ name: topic, partitions: [{ partitionIndex: partition, timestamp }] }] })
  return Number(answer.partitions[0].offset)
}

async function watermarks({ topic, partition }) {
  const low = await offsetAt(topic, partition, ListOffsetTimestamps.EARLIEST)
  return { low, high: await offsetAt(topic, partition, ListOffsetTimestamps.LATEST) }
}

async function offset_for_time({ topic, partition, timestamp_ms }) {
  const offset = await offsetAt(topic, partition, BigInt(timestamp_ms))
  return { offset: offset < 0 ? null : offset }
}

// One producer is kept for each kind, as a program would.
function producerFor(idempotent) {
  if (!producers.has(idempotent))
    producers.set(idempotent, new Producer({ ...common, idempotent, strict: true, autocreateTopics: true }))
  return producers.get(idempotent)
}

async function produce({ topic, acks, codec, idempotent, records }) {
  const producer = producerFor(idempotent)
  // Its partition numbers are taken modulo the count that it knows, so the count must not be an old one.
  await producer.metadata({ topics: [topic], forceUpdate: true, autocreateTopics: true })
  const offsets = []
  for (const portion of portions(records)) {
    const written = await producer.send({
      messages: portion.map(record => outgoing(topic, record)),
      acks: acknowledgements[acks],
      compression: codec
    })
    const bases = (written.offsets ?? []).map(({ partition, offset }) => [partition, Number(offset)])
    offsets.push(...(acks === '0' ? portion.map(() => null) : offsetsOf(portion, bases)))
  }
  return { offsets }
}

function outgoing(topic, { partition, key, value, headers, timestamp_ms }) {
  const message = { topic, partition, key: bytes(key), value: bytes(value) }
  if (headers.length) message.headers = new Map(headers.map(([name, value]) => [Buffer.from(name), bytes(value)]))
  if (timestamp_ms !== null) message.timestamp = BigInt(timestamp_ms)
  return message
}

function incoming(partition, batch, record) {
  const appendTime = batch.attributes & LOG_APPEND_TIME
  return {
    partition,
    offset: Number(batch.firstOffset) + record.offsetDelta,
    timestamp_ms: Number(appendTime ? batch.maxTimestamp : batch.firstTimestamp + record.timestampDelta),
    key: text(record.key),
    value: text(record.value),
    headers: record.headers.map(([name, value]) => [name.toString(), text(value)])
  }
}

async function consume({ topic, partition, from, count, timeout_ms }) {
  const { records } = await readFrom(topic, partition, await resolve(topic, partition, from), count, timeout_ms)
  return { records }
}

async function resolve(topic, partition, from) {
  if (typeof from === 'number') return from
  if (from === 'earliest') return offsetAt(topic, partition, ListOffsetTimestamps.EARLIEST)
  const end = await offsetAt(topic, partition, ListOffsetTimestamps.LATEST)
  if (from === 'latest') return end
  return (await offset_for_time({ topic, partition, timestamp_ms: from.timestamp_ms })).offset ?? end
}

async function readFrom(topic, partition, offset, count, timeout_ms) {
  const deadline = Date.now() + timeout_ms
  const records = []
  consumer.topics.trackAll(topic)
  const metadata = await consumer.metadata({ topics: [topic], forceUpdate: true })
  const { id: topicId, partitions } = metadata.topics.get(topic)
  while (records.length < count && Date.now() < deadline) {
    const wanted = {
      partition,
      currentLeaderEpoch: -1,
      fetchOffset: BigInt(offset),
      lastFetchedEpoch: -1,
      partitionMaxBytes: PARTITION_BYTES_MAX
    }
    const { responses } = await consumer.fetch({
      node: partitions[partition].leader,
      topics: [{ topicId, partitions: [wanted] }],
      minBytes: 1,
      maxBytes: 10 << 20,
      maxWaitTime: Math.max(1, Math.min(FETCH_WAIT_MS, deadline - Date.now()))
    })
    for (const batch of responses[0]?.partitions[0]?.records ?? []) {
      for (const record of batch.records) {
        const message = incoming(partition, batch, record)
        if (message.offset < offset || records.length >= count) continue
        records.push(message)
        offset = message.offset + 1
      }
    }
  }
  return { records, offset }
}

async function tail_start({ topic, partition }) {
  const position = await resolve(topic, partition, 'latest')
  tail = { topic, partition, offset: position }
  return { position }
}

async function tail_read({ count, timeout_ms }) {
  const { records, offset } = await readFrom(tail.topic, tail.partition, tail.offset, count, timeout_ms)
  tail.offset = offset
  return { records }
}

async function bye() {
  await Promise.all([admin, consumer, ...producers.values()].map(client => client.close()))
}

await serve({
  hello,
  create_topic,
  alter_topic,
  describe_topic,
  add_partitions,
  delete_records,
  delete_topic,
  list_topics,
  produce,
  consume,
  tail_start,
  tail_read,
  watermarks,
  offset_for_time,
  bye,
  extras: () => extras(library, common)
})
