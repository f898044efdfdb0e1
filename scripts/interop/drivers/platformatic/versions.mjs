// Every version of every API that both sides know, one after the other: the client exports its codecs, each written by itself.

import { check, must } from '../../lib/driver.mjs'

const TOPIC = 'versions'
const RECORDS = 3
const TOPIC_RESOURCE = 2
const NOBODY = -1
const TIMEOUT_MS = 5000

// everyVersion runs `probes`, each with all versions of its API that the broker offers and the client has.
export async function everyVersion({ library, common, admin }) {
  await admin.createTopics({ topics: [TOPIC], partitions: 1, replicas: 1 })
  const producer = new library.Producer({ ...common, idempotent: true })
  const messages = Array.from({ length: RECORDS }, (_, n) => ({ topic: TOPIC, partition: 0, value: Buffer.from(String(n)) }))
  await producer.send({ messages })
  await producer.close()
  const [connection] = (await admin.connectToBrokers()).values()
  const metadata = await admin.metadata({ topics: [TOPIC], forceUpdate: true })
  const { apiKeys } = await library.apiVersionsV3.api.async(connection, 'interop', '1')
  const context = { library, admin, connection, topicId: metadata.topics.get(TOPIC).id, producerId: undefined }
  const checks = []
  for (const [name, run] of Object.entries(probes)) {
    checks.push(await check(`${name}, every version`, () => versionsOf(name, run, context, apiKeys)))
  }
  return checks
}

async function versionsOf(name, run, context, apiKeys) {
  const failures = []
  let tried = 0
  for (let version = 0; version <= 20; version++) {
    const api = context.library[`${name}V${version}`]?.api
    const offered = api && apiKeys.find(({ apiKey }) => apiKey === api.key)
    must(!api || offered, 'is not offered')
    if (!api || version < offered.minVersion || version > offered.maxVersion || (name === 'produce' && version < 3)) continue
    tried += 1
    const call = (...values) => api.async(context.connection, ...values)
    try {
      await run(call, { ...context, version, topic: `probe-${name}-${version}` })
    } catch (error) {
      failures.push(`${version}: ${error.message} ${JSON.stringify(error.errors?.map(each => each.message) ?? '')}`)
    }
  }
  must(!failures.length, failures.join('; '))
  must(tried, 'no version in common')
}

const create = ({ admin, topic }, partitions = 1) => admin.createTopics({ topics: [topic], partitions, replicas: 1 })
const message = (topic, value) => ({
  topic,
  partition: 0,
  value: Buffer.from(value),
  headers: new Map([[Buffer.from('h'), null]])
})

async function writeTo({ library, connection, topic }, count) {
  const messages = Array.from({ length: count }, (_, n) => message(topic, String(n)))
  await library.produceV9.api.async(connection, -1, TIMEOUT_MS, messages, {})
}

const probes = {
  apiVersions: async call => {
    const { apiKeys } = await call('interop', '1')
    must(
      apiKeys.some(({ apiKey }) => apiKey === 18),
      JSON.stringify(apiKeys)
    )
  },

  metadata: async (call, { version, topic }) => {
    const { brokers, topics } = await call([TOPIC], false)
    must(brokers.length === 1 && topics[0].partitions[0].leaderId === brokers[0].nodeId, JSON.stringify({ brokers, topics }))
    if (version >= 4) {
      const error = await call([topic], false).catch(caught => caught)
      must(error.response?.topics[0].errorCode === 3, `an unknown topic: ${error.message}`)
    }
  },

  produce: async (call, context) => {
    await create(context)
    for (const first of [0n, 2n]) {
      const answer = await call(-1, TIMEOUT_MS, [message(context.topic, 'a'), message(context.topic, 'b')], {
        compression: 'gzip'
      })
      must(answer.responses[0].partitionResponses[0].baseOffset === first, JSON.stringify(answer, plain))
    }
  },

  fetch: async (call, { version, topicId }) => {
    const partition = { partition: 0, currentLeaderEpoch: -1, fetchOffset: 0n, lastFetchedEpoch: -1, partitionMaxBytes: 1 << 20 }
    const topics = [{ topicId: version >= 13 ? topicId : TOPIC, partitions: [partition] }]
    const answer = await call(TIMEOUT_MS, 1, 1 << 20, 0, 0, -1, topics, [], '')
    const { records, highWatermark } = answer.responses[0].partitions[0]
    const values = records.flatMap(batch => batch.records).map(({ value }) => value.toString())
    must(values.join() === '0,1,2' && highWatermark === 3n, values.join())
  },

  listOffsets: async call => {
    for (const [timestamp, offset] of [
      [-1n, 3n],
      [-2n, 0n],
      [1n, 0n],
      [9_000_000_000_000n, -1n]
    ]) {
      const partitions = [{ partitionIndex: 0, currentLeaderEpoch: -1, timestamp }]
      const { topics } = await call(NOBODY, 0, [{ name: TOPIC, partitions }])
      must(topics[0].partitions[0].offset === offset, `${timestamp}: ${topics[0].partitions[0].offset}`)
    }
  },

  createTopics: async (call, { topic }) => {
    const configs = [{ name: 'retention.ms', value: '7200000' }]
    const wanted = { name: topic, numPartitions: 2, replicationFactor: 1, assignments: [], configs }
    must((await call([wanted], TIMEOUT_MS, false)).topics[0].name === topic, 'another name')
    const error = await call([wanted], TIMEOUT_MS, false).catch(caught => caught)
    must(error.response?.topics[0].errorCode === 36, `made twice: ${error.message}`)
  },

  deleteTopics: async (call, context) => {
    await create(context)
    const { version, topic } = context
    await call(version >= 6 ? [{ name: topic, topicId: null }] : [{ name: topic }], TIMEOUT_MS)
    must(!(await context.admin.listTopics()).includes(topic), 'still there')
  },

  deleteRecords: async (call, context) => {
    await create(context)
    await writeTo(context, 5)
    for (const [offset, low] of [
      [2n, 2n],
      [-1n, 5n]
    ]) {
      const { topics } = await call([{ name: context.topic, partitions: [{ partitionIndex: 0, offset }] }], TIMEOUT_MS)
      must(topics[0].partitions[0].lowWatermark === low, `${topics[0].partitions[0].lowWatermark} instead of ${low}`)
    }
  },

  initProducerId: async (call, context) => {
    const { producerId, producerEpoch } = await call(null, TIMEOUT_MS, -1n, -1)
    must(producerId >= 0n && producerId !== context.producerId && producerEpoch === 0, `${producerId} ${producerEpoch}`)
    context.producerId = producerId
  },

  offsetForLeaderEpoch: async call => {
    const { topics } = await call(NOBODY, [
      { name: TOPIC, partitions: [{ partitionIndex: 0, currentLeaderEpoch: -1, leaderEpoch: 0 }] }
    ])
    must(topics[0].partitions[0].endOffset === 3n, JSON.stringify(topics, plain))
  },

  describeConfigs: async (call, { version }) => {
    const resources = [
      { resourceType: TOPIC_RESOURCE, resourceName: TOPIC, configurationKeys: ['retention.ms', 'cleanup.policy'] }
    ]
    const { configs } = (await call(resources, true, true)).results[0]
    const policy = configs.find(({ name }) => name === 'cleanup.policy')
    must(configs.length === 2 && policy.value === 'delete' && policy.configSource === 5, JSON.stringify(configs))
    must(version < 3 || (policy.configType === 7 && policy.documentation?.length > 10), JSON.stringify(policy))
  },

  alterConfigs: async (call, context) => {
    await create(context)
    await call(
      [{ resourceType: TOPIC_RESOURCE, resourceName: context.topic, configs: [{ name: 'retention.ms', value: '5000' }] }],
      false
    )
  },

  incrementalAlterConfigs: async (call, context) => {
    await create(context)
    const configs = [{ name: 'retention.ms', configOperation: 0, value: '5000' }]
    await call([{ resourceType: TOPIC_RESOURCE, resourceName: context.topic, configs }], false)
  },

  describeLogDirs: async call => {
    const { results } = await call([{ name: TOPIC, partitions: [0] }])
    must(results[0].topics[0].partitions[0].partitionSize > 0n, JSON.stringify(results, plain))
  },

  createPartitions: async (call, context) => {
    await create(context)
    await call([{ name: context.topic, count: 3, assignments: null }], TIMEOUT_MS, false)
    const { topics } = await context.admin.metadata({ topics: [context.topic], forceUpdate: true })
    must(topics.get(context.topic).partitionsCount === 3, 'not added')
  },

  describeCluster: async call => {
    const { brokers, controllerId, clusterId } = await call(false, 1)
    must(brokers.length === 1 && brokers[0].brokerId === controllerId && clusterId, JSON.stringify(brokers))
  },

  describeProducers: async call => {
    const { topics } = await call([{ name: TOPIC, partitionIndexes: [0] }])
    const [producer, ...more] = topics[0].partitions[0].activeProducers
    must(producer?.lastSequence === 2 && !more.length, JSON.stringify(topics, plain))
  },

  listConfigResources: async call => {
    const { configResources } = await call([TOPIC_RESOURCE])
    must(
      configResources.some(({ resourceName }) => resourceName === TOPIC),
      JSON.stringify(configResources)
    )
  },

  describeTopicPartitions: async call => {
    const { topics } = await call([{ name: TOPIC }], 100, null)
    must(topics[0].partitions.length === 1 && topics[0].partitions[0].errorCode === 0, JSON.stringify(topics))
  }
}

const plain = (_, value) => (typeof value === 'bigint' ? String(value) : value)
