// What users of @platformatic/kafka do beyond the table of scenarios. Each check makes its own topics; the first error is its detail.

import { check, must, told } from '../../lib/driver.mjs'
import { everyVersion } from './versions.mjs'

const TOPIC = 2
const BROKER = 4

export async function extras(library, common) {
  const admin = new library.Admin({ ...common, retries: 2, retryDelay: 100 })
  const consumer = new library.Consumer({ ...common, groupId: 'extras', retries: 2, retryDelay: 100 })
  const context = { library, common, admin, consumer }
  const checks = []
  for (const [name, run] of Object.entries(behaviours)) checks.push(await check(name, () => run(context)))
  checks.push(...(await everyVersion(context)))
  await Promise.all([admin.close(), consumer.close()])
  return { checks }
}

const behaviours = {
  'metadata of all topics, and of the cluster': async ({ admin }) => {
    await admin.createTopics({ topics: ['meta-a', 'meta-b'], partitions: 3, replicas: 1 })
    const { id, brokers, controllerId, topics } = await admin.metadata({ topics: ['meta-a', 'meta-b'], forceUpdate: true })
    must(id && brokers.has(controllerId) && topics.get('meta-b').partitionsCount === 3, JSON.stringify({ id, controllerId }))
    must(topics.get('meta-a').id !== topics.get('meta-b').id, 'two topics share an id')
  },

  'a stream of records is written': async ({ library, common, admin, consumer }) => {
    await admin.createTopics({ topics: ['streamed'], partitions: 4, replicas: 1 })
    const producer = new library.Producer({ ...common, idempotent: true })
    const stream = producer.asStream({ batchSize: 100, batchTime: 10, reportMode: 'batch' })
    let acknowledged = 0
    stream.on('delivery-report', ({ count }) => (acknowledged += count))
    for (let n = 0; n < 1000; n++)
      stream.write({ topic: 'streamed', key: Buffer.from(`key-${n}`), value: Buffer.from(String(n)) })
    await stream.close()
    const offsets = (await consumer.listOffsets({ topics: ['streamed'] })).get('streamed')
    must(Number(offsets.reduce((sum, offset) => sum + offset)) === 1000 && acknowledged === 1000, `${offsets} ${acknowledged}`)
    must(
      (await consumer.listOffsets({ topics: ['streamed'], isolationLevel: 1 })).get('streamed').join() === offsets.join(),
      'last stable'
    )
    await producer.close()
  },

  'sends at once from one idempotent producer': async ({ library, common, admin, consumer }) => {
    await admin.createTopics({ topics: ['at-once'], partitions: 5, replicas: 1 })
    const producer = new library.Producer({ ...common, idempotent: true })
    const send = n => producer.send({ messages: [{ topic: 'at-once', partition: n % 5, value: Buffer.from(String(n)) }] })
    await Promise.all(Array.from({ length: 100 }, (_, n) => send(n)))
    const offsets = (await consumer.listOffsets({ topics: ['at-once'] })).get('at-once')
    must(offsets.join() === '20,20,20,20,20', offsets.join())
    await producer.close()
  },

  'the largest timestamp': async ({ library, common, admin, consumer }) => {
    await admin.createTopics({ topics: ['times'], partitions: 1, replicas: 1 })
    const producer = new library.Producer(common)
    const messages = [5n, 9n, 7n].map(n => ({
      topic: 'times',
      partition: 0,
      value: Buffer.from('v'),
      timestamp: 1_700_000_000_000n + n
    }))
    await producer.send({ messages, acks: -1 })
    const found = (await consumer.listOffsetsWithTimestamps({ topics: ['times'], timestamp: -3n })).get('times').get(0)
    must(found.offset === 1n && found.timestamp === 1_700_000_000_009n, `${found.offset} ${found.timestamp}`)
    await producer.close()
  },

  'log directories': async ({ admin }) => {
    const [{ results }] = await admin.describeLogDirs({ topics: [{ name: 'streamed', partitions: [0, 1, 2, 3] }] })
    const [topic] = results[0].topics
    must(results.length === 1 && topic.partitions.length === 4, `${results.length} directories`)
    must(
      topic.partitions.some(({ partitionSize }) => partitionSize > 0n),
      'nothing takes space'
    )
  },

  "a broker's own settings, with documentation": async ({ admin }) => {
    const { controllerId } = await admin.metadata({ topics: [], forceUpdate: true })
    const resources = [{ resourceType: BROKER, resourceName: String(controllerId), configurationKeys: ['num.partitions'] }]
    const [{ configs }] = await admin.describeConfigs({ resources, includeSynonyms: true, includeDocumentation: true })
    const [found] = configs
    must(configs.length === 1 && found.value === '1' && !found.readOnly, JSON.stringify(configs))
    must(found.documentation?.length > 10 && found.synonyms.length > 0, JSON.stringify(configs))
  },

  'trying out changes changes nothing': async ({ admin }) => {
    await admin.createTopics({ topics: ['tried'], partitions: 1, replicas: 1 })
    await admin.createPartitions({ validateOnly: true, topics: [{ name: 'tried', count: 5, assignments: null }] })
    const change = {
      resourceType: TOPIC,
      resourceName: 'tried',
      configs: [{ name: 'retention.ms', configOperation: 0, value: '5' }]
    }
    await admin.incrementalAlterConfigs({ validateOnly: true, resources: [change] })
    const { topics } = await admin.metadata({ topics: ['tried'], forceUpdate: true })
    must(topics.get('tried').partitionsCount === 1, 'partitions were added')
    must((await setting(admin, 'tried', 'retention.ms')) !== '5', 'the setting changed')
  },

  'settings appended to, taken from, and reset': async ({ admin }) => {
    await admin.createTopics({ topics: ['operations'], partitions: 1, replicas: 1 })
    const before = await setting(admin, 'operations', 'retention.ms')
    const change = (name, configOperation, value) =>
      admin.incrementalAlterConfigs({
        resources: [{ resourceType: TOPIC, resourceName: 'operations', configs: [{ name, configOperation, value }] }]
      })
    await change('retention.ms', 0, '5000')
    must((await setting(admin, 'operations', 'retention.ms')) === '5000', 'not set')
    await change('retention.ms', 1, null)
    must((await setting(admin, 'operations', 'retention.ms')) === before, 'not reset')
    await change('cleanup.policy', 2, 'delete')
    must((await setting(admin, 'operations', 'cleanup.policy')) === 'delete', 'appended twice')
    await refused('Configuration is invalid', change('retention.ms', 2, '1'))
  },

  'what is wrong is refused by name': async ({ admin }) => {
    await admin.createTopics({ topics: ['strict'], partitions: 2, replicas: 1 })
    const fewer = admin.createPartitions({ topics: [{ name: 'strict', count: 1, assignments: null }] })
    await refused('Number of partitions is below 1', fewer)
    await refused('does not host this topic-partition', admin.deleteTopics({ topics: ['no-such-topic'] }))
    await refused('invalid topic', admin.createTopics({ topics: ['bad/name'], partitions: 1, replicas: 1 }))
    const beyond = admin.deleteRecords({ topics: [{ name: 'strict', partitions: [{ partition: 0, offset: 99n }] }] })
    await refused('not within the range', beyond)
  }
}

async function setting(admin, topic, name) {
  const resources = [{ resourceType: TOPIC, resourceName: topic, configurationKeys: [name] }]
  const [{ configs }] = await admin.describeConfigs({ resources })
  return configs.find(config => config.name === name)?.value
}

// refused waits for a failure that says so; the words are those that the client has for the error code.
async function refused(words, attempt) {
  let error
  await attempt.catch(caught => (error = caught))
  must(error && told(error).includes(words), `"${words}" was expected: ${error ? told(error) : 'nothing was refused'}`)
}
