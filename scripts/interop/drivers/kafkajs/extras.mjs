// What users of kafkajs do beyond the table of scenarios. Each check makes its own topics; the first error is its detail.

import { check, must } from '../../lib/driver.mjs'

export async function extras({ kafka, require, fetchFrom }) {
  const admin = kafka.admin({ retry: { retries: 2 } })
  await admin.connect()
  const of = name => check(name[0], () => name[1]({ kafka, admin, require, fetchFrom }))
  const checks = []
  for (const each of [...Object.entries(behaviours), ...Object.entries(probes).map(probe)]) checks.push(await of(each))
  await admin.disconnect()
  return { checks }
}

const behaviours = {
  'metadata of all topics, and of the cluster': async ({ admin }) => {
    await admin.createTopics({ topics: [{ topic: 'meta', numPartitions: 3 }] })
    const { topics } = await admin.fetchTopicMetadata()
    const meta = topics.find(({ name }) => name === 'meta')
    must(meta?.partitions.length === 3 && meta.partitions.every(({ leader, isr }) => isr[0] === leader), JSON.stringify(topics))
    const { brokers, controller, clusterId } = await admin.describeCluster()
    must(
      brokers.length === 1 && brokers[0].nodeId === controller && clusterId,
      JSON.stringify({ brokers, controller, clusterId })
    )
  },

  'one send to several topics, spread by key': async ({ kafka, admin }) => {
    await admin.createTopics({
      topics: [
        { topic: 'spread-a', numPartitions: 4 },
        { topic: 'spread-b', numPartitions: 2 }
      ]
    })
    await sending(kafka, {}, producer => {
      const messages = Array.from({ length: 100 }, (_, n) => ({ key: `key-${n}`, value: String(n) }))
      return producer.sendBatch({ topicMessages: ['spread-a', 'spread-b'].map(topic => ({ topic, messages })) })
    })
    for (const topic of ['spread-a', 'spread-b']) {
      const offsets = await admin.fetchTopicOffsets(topic)
      must(
        offsets.reduce((sum, { high }) => sum + Number(high), 0) === 100 && offsets.every(({ high }) => high > 0),
        JSON.stringify(offsets)
      )
    }
  },

  'the time of appending': async ({ kafka, admin, fetchFrom }) => {
    const configEntries = [{ name: 'message.timestamp.type', value: 'LogAppendTime' }]
    await admin.createTopics({ topics: [{ topic: 'append-time', numPartitions: 1, configEntries }] })
    const began = Date.now() - 1000
    const [written] = await sending(kafka, {}, producer =>
      producer.send({ topic: 'append-time', messages: [{ value: 'v', timestamp: '1000000' }] })
    )
    const [record] = (await fetchFrom('append-time', 0, 0, 1, 5000)).records
    must(
      Number(written.logAppendTime) >= began && record.timestamp_ms === Number(written.logAppendTime),
      JSON.stringify({ written, record })
    )
  },

  'sends at once from one idempotent producer': async ({ kafka, admin }) => {
    await admin.createTopics({ topics: [{ topic: 'at-once', numPartitions: 5 }] })
    await sending(kafka, { idempotent: true, maxInFlightRequests: 5 }, producer =>
      Promise.all(
        Array.from({ length: 100 }, (_, n) =>
          producer.send({ topic: 'at-once', messages: [{ partition: n % 5, value: String(n) }] })
        )
      )
    )
    const offsets = await admin.fetchTopicOffsets('at-once')
    must(
      offsets.every(({ high }) => high === '20'),
      JSON.stringify(offsets)
    )
  },

  'trying out changes changes nothing': async ({ admin }) => {
    await admin.createTopics({ topics: [{ topic: 'tried', numPartitions: 1 }] })
    await admin.createTopics({ validateOnly: true, waitForLeaders: false, topics: [{ topic: 'never', numPartitions: 1 }] })
    await admin.createPartitions({ validateOnly: true, topicPartitions: [{ topic: 'tried', count: 5 }] })
    const configEntries = [{ name: 'retention.ms', value: '5' }]
    await admin.alterConfigs({ validateOnly: true, resources: [{ type: TOPIC, name: 'tried', configEntries }] })
    const { topics } = await admin.fetchTopicMetadata()
    must(!topics.some(({ name }) => name === 'never'), 'the topic was made')
    must(topics.find(({ name }) => name === 'tried').partitions.length === 1, 'partitions were added')
    must((await setting(admin, 'tried', 'retention.ms')).configValue !== '5', 'the setting changed')
  },

  "a broker's own settings, with where they come from": async ({ admin }) => {
    const { brokers } = await admin.describeCluster()
    const resource = { type: BROKER, name: String(brokers[0].nodeId) }
    const { resources } = await admin.describeConfigs({ includeSynonyms: true, resources: [resource] })
    const found = resources[0].configEntries.find(({ configName }) => configName === 'num.partitions')
    must(found?.configValue === '1' && !found.readOnly && found.configSynonyms.length > 0, JSON.stringify(found))
  },

  'only the settings asked for': async ({ admin }) => {
    await admin.createTopics({ topics: [{ topic: 'asked', numPartitions: 1 }] })
    const resource = { type: TOPIC, name: 'asked', configNames: ['retention.ms', 'cleanup.policy'] }
    const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [resource] })
    const names = resources[0].configEntries.map(({ configName }) => configName).sort()
    must(names.join() === 'cleanup.policy,retention.ms', names.join())
  },

  'what is wrong is refused by name': async ({ admin }) => {
    await admin.createTopics({ topics: [{ topic: 'strict', numPartitions: 2 }] })
    await refused('INVALID_PARTITIONS', admin.createPartitions({ topicPartitions: [{ topic: 'strict', count: 1 }] }))
    await refused('UNKNOWN_TOPIC_OR_PARTITION', admin.deleteTopics({ topics: ['no-such-topic'] }))
    await refused('INVALID_TOPIC_EXCEPTION', admin.createTopics({ topics: [{ topic: 'bad/name' }] }))
    const nonsense = [{ name: 'no.such.setting', value: '1' }]
    await refused('INVALID_CONFIG', admin.createTopics({ topics: [{ topic: 'nonsense', configEntries: nonsense }] }))
    const replicas = admin.createTopics({ topics: [{ topic: 'replicas', replicationFactor: 3 }] })
    await refused('INVALID_REPLICATION_FACTOR', replicas)
  }
}

// One API at one version after the other: the broker's list, as kafkajs sees it, ends there. [the lowest kafkajs speaks to us, what to do].
const probes = {
  Produce: [3, async ({ kafka }, topic) => must((await write(kafka, topic))[0].baseOffset === '0', 'not the first offset')],
  Fetch: [
    4,
    async ({ kafka, fetchFrom }, topic) => {
      await write(kafka, topic)
      const { records } = await fetchFrom(topic, 0, 0, 2, 5000)
      must(records.map(({ value }) => Buffer.from(value, 'base64').toString()).join() === 'a,b', JSON.stringify(records))
    }
  ],
  ListOffsets: [
    1,
    async ({ kafka, admin }, topic) => {
      await write(kafka, topic)
      const [{ high, low }] = await admin.fetchTopicOffsets(topic)
      const [{ offset }] = await admin.fetchTopicOffsetsByTimestamp(topic, 1)
      must(high === '2' && low === '0' && offset === '0', JSON.stringify({ high, low, offset }))
    }
  ],
  Metadata: [
    0,
    async ({ admin }, topic) => {
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
      must(topics[0].partitions.length === 1, JSON.stringify(topics))
    }
  ],
  CreateTopics: [
    2,
    async ({ admin }, topic) => must(await admin.createTopics({ topics: [{ topic: `${topic}-more` }] }), 'not made')
  ],
  DeleteTopics: [1, async ({ admin }, topic) => await admin.deleteTopics({ topics: [topic] })],
  DeleteRecords: [
    0,
    async ({ kafka, admin }, topic) => {
      await write(kafka, topic)
      await admin.fetchTopicOffsets(topic)
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '1' }] })
      must((await admin.fetchTopicOffsets(topic))[0].low === '1', 'the beginning is still there')
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '-1' }] })
      must((await admin.fetchTopicOffsets(topic))[0].low === '2', 'not all records went')
    }
  ],
  InitProducerId: [
    0,
    async ({ kafka }, topic) => must((await write(kafka, topic, true))[0].baseOffset === '0', 'not the first offset')
  ],
  DescribeConfigs: [
    1,
    async ({ admin }, topic) => must((await setting(admin, topic, 'cleanup.policy')).configValue === 'delete', 'not the default')
  ],
  AlterConfigs: [
    0,
    async ({ admin }, topic) => {
      const configEntries = [{ name: 'retention.ms', value: '3600000' }]
      await admin.alterConfigs({ resources: [{ type: TOPIC, name: topic, configEntries }] })
      must((await setting(admin, topic, 'retention.ms')).configValue === '3600000', 'not changed')
    }
  ],
  CreatePartitions: [
    0,
    async ({ admin }, topic) => {
      await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
      must((await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 3, 'not added')
    }
  ]
}

const TOPIC = 2
const BROKER = 4

// probe makes a check that runs `run` with each version of one API.
function probe([name, [low, run]]) {
  const everyVersion = async context => {
    const Broker = context.require('kafkajs/src/broker')
    const { requests } = context.require('kafkajs/src/protocol/requests')
    const key = context.require('kafkajs/src/protocol/requests/apiKeys')[name]
    const { apiVersions } = Broker.prototype
    const failures = []
    for (const version of requests[name].versions.map(Number).filter(version => version >= low)) {
      Broker.prototype.apiVersions = async function () {
        const offered = await apiVersions.call(this)
        must(offered[key], `${name} is not offered`)
        return { ...offered, [key]: { ...offered[key], maxVersion: version } }
      }
      const topic = `probe-${name}-${version}`
      await context.admin.createTopics({ topics: [{ topic, numPartitions: 1 }] })
      const admin = context.kafka.admin({ retry: { retries: 1 } })
      try {
        await admin.connect()
        await run({ ...context, admin }, topic)
      } catch (error) {
        failures.push(`${version}: ${error.message}`)
      } finally {
        await admin.disconnect()
        Broker.prototype.apiVersions = apiVersions
      }
    }
    must(!failures.length, failures.join('; '))
  }
  return [`${name}, every version`, everyVersion]
}

async function sending(kafka, options, run) {
  const producer = kafka.producer(options)
  await producer.connect()
  try {
    return await run(producer)
  } finally {
    await producer.disconnect()
  }
}

const write = (kafka, topic, idempotent = false) =>
  sending(kafka, { idempotent }, producer =>
    producer.send({ topic, messages: [{ value: 'a' }, { value: 'b', headers: { h: 'x' } }] })
  )

async function setting(admin, name, wanted) {
  const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [{ type: TOPIC, name }] })
  return resources[0].configEntries.find(({ configName }) => configName === wanted)
}

// refused waits for a failure of that type.
async function refused(type, attempt) {
  let error
  await attempt.catch(caught => (error = caught))
  must(error, `${type} was expected, and nothing was refused`)
  must(
    [error, error.cause, ...(error.errors ?? [])].some(each => each?.type === type),
    `${type} was expected: ${error.type} ${error.message}`
  )
}
