// Drives tus-js-client as a draft's client: node drafts.mjs PACKAGES CLIENT ENDPOINT PROTOCOL
//
// Writes one line of JSON: the methods that each scenario used, and the uploads that it left ({url, sha256}, sha256
// null for one that must be gone).

import { createHash, randomBytes } from 'node:crypto'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'

const [packages, client, endpoint, protocol] = process.argv.slice(2)
const tus = createRequire(join(packages, 'here.js'))(client)
const SIZE = 8 << 20
const chunkSize = 3_000_000

function begin(body, options, requests) {
  let upload
  const done = new Promise((onSuccess, onError) => {
    const onBeforeRequest = (request) => { requests.push(request.getMethod()) }
    upload = new tus.Upload(body, { endpoint, protocol, chunkSize, onBeforeRequest, onSuccess, onError, ...options })
  })
  return { upload, done }
}

// Pauses an upload in the middle of its second chunk, and returns once that is done.
async function paused(body, requests) {
  let reached
  const pause = new Promise((resolve) => { reached = resolve })
  const onProgress = (sent) => {
    if (sent > chunkSize && reached !== null) {
      reached(upload.abort())
      reached = null
    }
  }
  const { upload, done } = begin(body, { retryDelays: null, onProgress }, requests)
  upload.start()
  await Promise.race([pause, done])
  await turn()
  return { upload, done }
}

const scenarios = {
  async upload(body, requests) {
    const { upload, done } = begin(body, {}, requests)
    upload.start()
    await done
    return upload.url
  },

  async resume(body, requests) {
    const { upload, done } = await paused(body, requests)
    upload.start()
    await done
    return upload.url
  },

  async 'resume elsewhere'(body, requests) {
    const { upload } = await paused(body, requests)
    const second = begin(body, { uploadUrl: upload.url }, requests)
    second.upload.start()
    await second.done
    return second.upload.url
  },

  async terminate(body, requests) {
    const { upload } = await paused(body, requests)
    await tus.Upload.terminate(upload.url, { protocol, retryDelays: null, onBeforeRequest: (sent) => { requests.push(sent.getMethod()) } })
    return upload.url
  },
}

const found = {}
for (const [name, scenario] of Object.entries(scenarios)) {
  const body = randomBytes(SIZE)
  const requests = []
  const url = await scenario(body, requests)
  const sha256 = name === 'terminate' ? null : createHash('sha256').update(body).digest('hex')
  found[name] = { url, sha256, requests }
}
console.log(JSON.stringify(found))
process.exit(0)
