// The driver of kafkajs: what scripts/interop asks for, carried out by its producer and its admin client.
//
// Reading goes through kafkajs' own cluster and broker objects, for its public consumer reads only as a member of a group. Snappy
// is kafkajs-snappy, lz4 is lz4js, zstd is Node's own: kafkajs takes codecs from outside.

import zlib from 'node:zlib'
import { serve, installed, bytes, text, portions, offsetsOf, PATIENCE_MS, FETCH_WAIT_MS } from '../../lib/driver.mjs'
import { extras } from './extras.mjs'

const [cacheDir, address] = process.argv.slice(2)
const { require, version } = installed(cacheDir)
const { Kafka, logLevel, CompressionTypes, CompressionCodecs, ConfigResourceTypes } = require('kafkajs')
const lz4 = require('lz4js')

CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => Buffer.from(lz4.compress(encoder.buffer)),
  decompress: async buffer => Buffer.from(lz4.decompress(buffer))
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => zlib.zstdCompressSync(encoder.buffer),
  decompress: async buffer => zlib.zstdDecompressSync(buffer)
})
const codecs = { none: 'None', gzip: 'GZIP', snappy: 'Snappy', lz4: 'LZ4', zstd: 'ZSTD' }
const acknowledgements = { 0: 0, 1: 1, all: -1 }

const kafka = new Kafka({
  clientId: 'interop',
  brokers: [address],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 100, maxRetryTime: 500, retries: PATIENCE_MS / 500, factor: 0 }
})
const admin = kafka.admin()
const producers = new Map()
let cluster
let tail

async function hello() {
  await admin.connect()
  const zstd = typeof zlib.zstdCompressSync === 'function'
  return {
    client: 'kafkajs',
    version: version('kafkajs'),
    language: 'JavaScript',
    codecs: Object.keys(codecs).filter(name => zstd || name !== 'zstd'),
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
      'extras',
      'group:roundrobin'
    ],
    cannot: { null_header: 'its encoder takes the length of a header value without asking for null' }
  }
}

async function create_topic({ topic, partitions, configs }) {
  const configEntries = Object.entries(configs ?? {}).map(([name, value]) => ({ name, value }))
  const created = await admin.createTopics({ topics: [{ topic, numPartitions: partitions, configEntries }] })
  if (!created) throw new Error(`TOPIC_ALREADY_EXISTS: ${topic}`)
}

const resource = topic => ({ type: ConfigResourceTypes.TOPIC, name: topic })

async function configsOf(topic) {
  const { resources } = await admin.describeConfigs({ resources: [resource(topic)], includeSynonyms: false })
  return resources[0].configEntries
}

// kafkajs can only replace a topic's settings as a whole, so what is set already is sent along.
async function alter_topic({ topic, configs }) {
  const state = Object.fromEntries(
    (await configsOf(topic)).filter(entry => !entry.isDefault).map(entry => [entry.configName, entry.configValue])
  )
  Object.assign(state, configs)
  const configEntries = Object.entries(state).map(([name, value]) => ({ name, value }))
  await admin.alterConfigs({ validateOnly: false, resources: [{ ...resource(topic), configEntries }] })
}

async function describe_topic({ topic }) {
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
  const entries = await configsOf(topic)
  return {
    partitions: topics[0].partitions.length,
    configs: Object.fromEntries(entries.map(entry => [entry.configName, entry.configValue]))
  }
}

async function add_partitions({ topic, count }) {
  await admin.createPartitions({ topicPartitions: [{ topic, count }] })
  // A producer that does not know the new partitions yet drops what is meant for them, without a word.
  await closeProducers()
}

async function delete_records({ topic, partition, before }) {
  // kafkajs looks for the leader before it has asked for the topic.
  await watermarks({ topic, partition })
  await admin.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(before) }] })
  return { low: (await watermarks({ topic, partition })).low }
}

async function delete_topic({ topic }) {
  await admin.deleteTopics({ topics: [topic] })
}

async function list_topics() {
  return { topics: await admin.listTopics() }
}

async function watermarks({ topic, partition }) {
  const found = (await admin.fetchTopicOffsets(topic)).find(entry => entry.partition === partition)
  return { low: Number(found.low), high: Number(found.high) }
}

// Where there is no such record, kafkajs answers with the end.
async function offset_for_time({ topic, partition, timestamp_ms }) {
  const found = (await admin.fetchTopicOffsetsByTimestamp(topic, timestamp_ms)).find(entry => entry.partition === partition)
  const { high } = await watermarks({ topic, partition })
  return { offset: Number(found.offset) >= high ? null : Number(found.offset) }
}

// One producer is kept for each kind, as a program would.
async function producerFor(idempotent) {
  if (!producers.has(idempotent)) {
    const producer = kafka.producer({ idempotent, maxInFlightRequests: 1, metadataMaxAge: 1000, allowAutoTopicCreation: true })
    await producer.connect()
    producers.set(idempotent, producer)
  }
  return producers.get(idempotent)
}

async function produce({ topic, acks, codec, idempotent, records }) {
  const producer = await producerFor(idempotent)
  const offsets = []
  for (const portion of portions(records)) {
    const written = await producer.send({
      topic,
      acks: acknowledgements[acks],
      compression: CompressionTypes[codecs[codec]],
      messages: portion.map(outgoing)
    })
    const bases = written.map(({ partition, baseOffset }) => [partition, Number(baseOffset)])
    offsets.push(...(acks === '0' ? portion.map(() => null) : offsetsOf(portion, bases)))
  }
  return { offsets }
}

function outgoing({ partition, key, value, headers, timestamp_ms }) {
  const named = {}
  for (const [name, value] of headers) {
    if (value === null) throw new Error(`kafkajs cannot write the null value of header ${name}`)
    named[name] = [...(named[name] ?? []), bytes(value)]
  }
  return {
    partition,
    key: bytes(key),
    value: bytes(value),
    headers: named,
    timestamp: timestamp_ms === null ? undefined : String(timestamp_ms)
  }
}

function incoming(partition, message) {
  const headers = Object.entries(message.headers).flatMap(([name, values]) => [values].flat().map(value => [name, text(value)]))
  return {
    partition,
    offset: Number(message.offset),
    timestamp_ms: Number(message.timestamp),
    key: text(message.key),
    value: text(message.value),
    headers
  }
}

async function consume({ topic, partition, from, count, timeout_ms }) {
  const { records } = await readFrom(topic, partition, await resolve(topic, partition, from), count, timeout_ms)
  return { records }
}

async function resolve(topic, partition, from) {
  if (typeof from === 'number') return from
  if (from === 'earliest') return (await watermarks({ topic, partition })).low
  if (from === 'latest') return (await watermarks({ topic, partition })).high
  return Number(
    (await admin.fetchTopicOffsetsByTimestamp(topic, from.timestamp_ms)).find(entry => entry.partition === partition).offset
  )
}

// Reads as kafkajs' consumer does below its group: find the leader, fetch, decode, drop what stands before the offset.
async function readFrom(topic, partition, offset, count, timeout_ms) {
  const deadline = Date.now() + timeout_ms
  const records = []
  while (records.length < count && Date.now() < deadline) {
    try {
      const broker = await leaderOf(topic, partition)
      const answer = await broker.fetch({
        replicaId: -1,
        isolationLevel: 1,
        maxWaitTime: Math.max(0, Math.min(FETCH_WAIT_MS, deadline - Date.now())),
        maxBytes: 10 << 20,
        topics: [{ topic, partitions: [{ partition, fetchOffset: String(offset), maxBytes: 2 << 20 }] }]
      })
      for (const message of answer.responses[0]?.partitions[0]?.messages ?? []) {
        if (Number(message.offset) < offset || records.length >= count) continue
        records.push(incoming(partition, message))
        offset = Number(message.offset) + 1
      }
    } catch (error) {
      if (!error.retriable) throw error
      await cluster.disconnect()
      cluster = undefined
      await new Promise(resolve => setTimeout(resolve, 100))
    }
  }
  return { records, offset }
}

// The same with a new cluster: it may have to speak other versions.
async function readAnew(...from) {
  await cluster?.disconnect()
  cluster = undefined
  return readFrom(...from)
}

// The broker that leads the partition; a new cluster of kafkajs each time the topic may have changed.
async function leaderOf(topic, partition) {
  if (!cluster) {
    const create = Object.getOwnPropertySymbols(kafka).find(symbol => symbol.description === 'private:Kafka:createCluster')
    cluster = kafka[create]({ metadataMaxAge: 1000, allowAutoTopicCreation: false })
    await cluster.connect()
  }
  await cluster.addTargetTopic(topic)
  await cluster.refreshMetadataIfNecessary()
  const [nodeId] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]))
  return cluster.findBroker({ nodeId })
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

async function closeProducers() {
  await Promise.all([...producers.values()].map(producer => producer.disconnect()))
  producers.clear()
}

async function bye() {
  await closeProducers()
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
  extras: () => extras({ kafka, require, fetchFrom: readAnew })
})
