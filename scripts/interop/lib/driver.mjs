// The part that the drivers of Node clients share: it reads one JSON request a line, calls the operation that it names, and
// writes one JSON answer a line.
//
// It knows no client library. The drivers in scripts/interop/drivers give it their operations.

import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

// Longer than the broker takes to restart in the middle of a run.
export const PATIENCE_MS = 45_000
// How long a fetch waits in the broker: so long that one that answers only at its end is found out by the tail.
export const FETCH_WAIT_MS = 5000

// Kafka's default of max.message.bytes leaves this much for a batch that is gathered from small records.
const BATCH_BYTES_MAX = 900_000

// installed(CACHE_DIR) gives a `require` for what install put there, and the version of a package.
export function installed(cacheDir) {
  const require = createRequire(join(cacheDir, 'package.json'))
  const version = name => JSON.parse(readFileSync(join(cacheDir, 'node_modules', name, 'package.json'), 'utf8')).version
  return { require, version }
}

// serve answers requests until "bye" or the end of stdin.
export async function serve(operations) {
  for await (const line of lines(process.stdin)) {
    const request = JSON.parse(line)
    let answer
    try {
      const operation = operations[request.op]
      if (!operation) throw new Error(`unknown operation ${request.op}`)
      answer = { ok: true, ...(await operation(request)) }
    } catch (error) {
      answer = { ok: false, error: told(error) }
    }
    await new Promise(resolve => process.stdout.write(JSON.stringify(answer) + '\n', resolve))
    if (request.op === 'bye') break
  }
  process.exit(0)
}

// Not node:readline: that also ends a line at U+2028, which may stand inside a JSON string.
async function* lines(stream) {
  let parts = []
  for await (const chunk of stream) {
    let start = 0
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      parts.push(chunk.subarray(start, end))
      yield Buffer.concat(parts).toString()
      parts = []
      start = end + 1
    }
    parts.push(chunk.subarray(start))
  }
}

// An error with its causes, each with its name.
export function told(error) {
  const own = `${error?.name ?? 'Error'}: ${error?.message ?? error}`
  const under = [...(error?.errors ?? []), ...(error?.cause ? [error.cause] : [])]
  return under.length ? `${own} (${under.map(told).join('; ')})` : own
}

export const bytes = text => (text === null ? null : Buffer.from(text, 'base64'))
export const text = bytes => (bytes === null || bytes === undefined ? null : bytes.toString('base64'))

// portions splits records into runs that fit one batch each.
export function* portions(records) {
  let portion = []
  let size = 0
  for (const record of records) {
    const own = 64 + ((record.key?.length ?? 0) + (record.value?.length ?? 0) + JSON.stringify(record.headers).length) * 0.75
    if (portion.length && size + own > BATCH_BYTES_MAX) {
      yield portion
      portion = []
      size = 0
    }
    portion.push(record)
    size += own
  }
  if (portion.length) yield portion
}

// offsetsOf counts up from each partition's base offset, in the order of the records.
export function offsetsOf(portion, baseOffsets) {
  const next = new Map(baseOffsets)
  return portion.map(({ partition }) => {
    const offset = next.get(partition)
    next.set(partition, offset + 1)
    return offset
  })
}

// check runs one line of the answer of "extras"; what it throws is the detail.
export async function check(name, run) {
  try {
    await run()
    return { name, ok: true, detail: '' }
  } catch (error) {
    return { name, ok: false, detail: told(error) }
  }
}

// must throws unless `holds`.
export function must(holds, detail) {
  if (!holds) throw new Error(detail)
}
