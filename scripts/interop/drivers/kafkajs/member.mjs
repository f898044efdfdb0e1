// A group member by kafkajs: it reads, commits, and tells all of it; what it tells is in runner/groups/history.py. Started by `member`.
//
// kafkajs hands out a batch of one partition at a time, and goes on from what was resolved; a commit that is refused is thrown, so
// that kafkajs itself finds out what became of its membership.

import { installed, told } from '../../lib/driver.mjs'

const [cacheDir, address, settings] = process.argv.slice(2)
const wanted = JSON.parse(settings)
const { require } = installed(cacheDir)
const { Kafka, logLevel, PartitionAssigners } = require('kafkajs')

// stdout is a pipe, and a write to it is done when it returns: a kill does not take it along.
process.stdout._handle?.setBlocking?.(true)
const tell = (e, fields) => process.stdout.write(JSON.stringify({ e, t: Date.now(), ...fields }) + '\n')

const kafka = new Kafka({
  clientId: wanted.name,
  brokers: [address],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 100, maxRetryTime: 500, retries: 20 }
})
const consumer = kafka.consumer({
  groupId: wanted.group,
  sessionTimeout: wanted.session_ms,
  heartbeatInterval: wanted.heartbeat_ms,
  rebalanceTimeout: wanted.rebalance_ms,
  maxWaitTimeInMs: 100,
  partitionAssigners: [PartitionAssigners.roundRobin]
})

let owned = []
let commits = 0

const tellOwned = partitions => {
  owned = partitions
  tell('owned', { partitions })
}
const { GROUP_JOIN, REBALANCING, CRASH, DISCONNECT } = consumer.events
consumer.on(GROUP_JOIN, ({ payload }) => {
  // An eager client has given back everything, also when it was forgotten and says nothing of it.
  if (owned.length) tellOwned([])
  tellOwned(payload.memberAssignment[wanted.topic] ?? [])
})
for (const event of [REBALANCING, CRASH, DISCONNECT]) {
  consumer.on(event, ({ payload }) => {
    if (payload?.error) tell('error', { error: told(payload.error) })
    if (owned.length) tellOwned([])
    // It says that it will not come back by itself.
    if (event === CRASH && !payload.restart) process.exit(1)
  })
}

async function eachBatch({ batch, resolveOffset, commitOffsetsIfNecessary, heartbeat, isRunning, isStale }) {
  if (!isRunning() || isStale()) return
  const p = batch.partition
  let from = null
  let to = null
  for (const { offset, value } of batch.messages) {
    const at = Number(offset)
    if (value?.toString() !== `${p}:${at}`) tell('wrong', { p, offset: at, value: String(value) })
    if (from !== null && at !== to) {
      tell('read', { p, from, to })
      from = null
    }
    from ??= at
    to = at + 1
  }
  if (from === null) return
  tell('read', { p, from, to })
  const n = ++commits
  tell('commit', { n, offsets: { [p]: to } })
  try {
    await commitOffsetsIfNecessary({ topics: [{ topic: wanted.topic, partitions: [{ partition: p, offset: String(to) }] }] })
  } catch (error) {
    tell('refused', { n, error: told(error) })
    throw error
  }
  tell('committed', { n })
  resolveOffset(String(to - 1))
  await heartbeat()
}

await consumer.connect()
await consumer.subscribe({ topics: [wanted.topic], fromBeginning: true })
await consumer.run({ autoCommit: false, eachBatch })
process.stdin.resume()
await new Promise(resolve => process.stdin.once('end', resolve))
await consumer.disconnect()
process.exit(0)
