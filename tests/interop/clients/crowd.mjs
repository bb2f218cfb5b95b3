// Uploads through servers that lose connections: node crowd.mjs PACKAGES CLIENT ENDPOINT COUNT SEED
//
// Some uploads in parallel parts, some in chunks, each paused and resumed once; four at a time. Writes for each a line
// of JSON: {url, size, sha256}.

import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'

const [packages, client, endpoint, count, seed] = process.argv.slice(2)
const tus = createRequire(join(packages, 'here.js'))(client)
const MIB = 1 << 20
const CROWD = 4
const STARTS = 30

// mulberry32, a random generator with a seed
let state = Number(seed)
function random(limit) {
  state = (state + 0x6d2b79f5) | 0
  let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
  return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit)
}

function content(size) {
  const bytes = Buffer.alloc(size)
  for (let at = 0; at + 4 <= size; at += 4) bytes.writeUInt32LE(random(2 ** 32), at)
  return bytes
}

function plan(number) {
  const size = 100_000 + random(7 * MIB)
  const kinds = [{}, { parallelUploads: 2 }, { chunkSize: MIB }, { parallelUploads: 3, chunkSize: MIB }]
  return { input: content(size), pauseAt: random(size), options: kinds[number % kinds.length] }
}

// Resolves once the upload is complete. What was paused, or given up by the client, goes on in a new object, as after a
// reload of the page: one that was aborted in parallel parts tells of no error any more.
function send({ input, pauseAt, options }) {
  return new Promise((resolve, reject) => {
    let paused = false
    let starts = 0
    let current = null

    async function goOn(ended) {
      current = null
      await ended.abort()
      await wait(100)
      start({ uploadUrl: ended.url, parallelUploadUrls: ended._parallelUploadUrls })
    }

    function start(previous) {
      starts += 1
      const upload = new tus.Upload(input, {
        endpoint,
        retryDelays: Array(20).fill(100),
        ...options,
        onProgress(sent) {
          if (upload !== current || paused || sent < pauseAt || sent === input.length) return
          paused = true
          goOn(upload).catch(reject)
        },
        onSuccess: () => resolve(upload.url),
        onError(error) {
          if (upload !== current) return
          if (starts === STARTS) reject(error)
          else goOn(upload).catch(reject)
        },
      })
      if (previous) upload.resumeFromPreviousUpload(previous)
      current = upload
      upload.start()
    }
    start()
  })
}

const plans = Array.from({ length: Number(count) }, (_, number) => plan(number))
async function work() {
  for (let next = plans.shift(); next; next = plans.shift()) {
    const sha256 = createHash('sha256').update(next.input).digest('hex')
    console.log(JSON.stringify({ url: await send(next), size: next.input.length, sha256 }))
  }
}
await Promise.all(Array.from({ length: CROWD }, work))
