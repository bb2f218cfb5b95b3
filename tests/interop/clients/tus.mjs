// Drives tus-js-client: node tus.mjs PACKAGES CLIENT ENDPOINT DIRECTORY [SCENARIO]
//
// The server stores in DIRECTORY/uploads; other files in DIRECTORY are the driver's own.
//
// Runs every scenario, or the one that is named, and writes for each a line of JSON: the options that it used, the
// uploads that it left ({url, sha256}, sha256 null for one that must be gone), and what failed. A first line names all
// options of the client.

import { ok as assert, deepEqual, equal } from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, join } from 'node:path'
import { Readable } from 'node:stream'
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

const [packages, client, endpoint, directory, wanted] = process.argv.slice(2)
const require = createRequire(join(packages, 'here.js'))
const http = require('node:http')

// Before the client is loaded, for it copies the module: what goes over the wire is told by node, not by the client.
let requests = []
let capacity = Infinity // bytes that a request may send before its line goes dead
const request = http.request
http.request = (...given) => {
  const sent = request(...given)
  if (capacity !== Infinity) limit(sent, capacity)
  const entry = { method: sent.method, path: sent.path, status: null, sent }
  sent.on('response', (answer) => Object.assign(entry, { status: answer.statusCode, answer: answer.headers }))
  requests.push(entry)
  return sent
}

const tus = require(client)
const FileUrlStorage = tus.FileUrlStorage ?? require(`${client}/node/FileUrlStorage`).FileUrlStorage
const SIZE = 1 << 20
const CHUNK = 300_000
const CHUNKS = [CHUNK, CHUNK, CHUNK, SIZE - 3 * CHUNK]
const LARGE = 8 << 20

let used = new Set()
let left = []

function sha256(bytes) {
  return createHash('sha256').update(bytes).digest('hex')
}

function methods() {
  return requests.map((entry) => entry.method)
}

function header(entry, name) {
  return entry.sent.getHeader(name)
}

// An upload, and the promise of what onSuccess tells. Without retries, unless the options say so.
function prepare(input, options) {
  for (const name of ['endpoint', 'onSuccess', 'onError', ...Object.keys(options)]) used.add(name)
  let upload
  const done = new Promise((onSuccess, onError) => {
    upload = new tus.Upload(input, { endpoint, retryDelays: null, ...options, onSuccess, onError })
  })
  done.catch(() => {}) // it is awaited later, or not at all
  return { upload, done }
}

async function send(input, options = {}) {
  const { upload, done } = prepare(input, options)
  upload.start()
  await done
  return upload
}

function leave(upload, body) {
  left.push({ url: upload.url ?? upload, sha256: body === null ? null : sha256(body) })
}

async function sendAll(body, options = {}, input = body) {
  const upload = await send(input, options)
  leave(upload, body)
  return upload
}

// Let a request's line go dead: whoever writes more waits for ever.
function limit(sent, size) {
  const write = sent.write.bind(sent)
  sent.write = (chunk, ...rest) => {
    size -= chunk.length
    return size > 0 && write(chunk, ...rest)
  }
}

function stored({ path }) {
  const file = join(directory, 'uploads', basename(path))
  return existsSync(file) ? statSync(file).size : 0
}

// Starts an upload whose lines go dead, and returns when `action(upload)`, taken once bytes are stored, is done.
async function interrupt(input, options, action) {
  capacity = 1 << 20
  const prepared = prepare(input, options)
  prepared.upload.start()
  while (!requests.some(stored)) await wait(5)
  await action(prepared.upload)
  capacity = Infinity
  return prepared
}

// Another node process begins the scenario `name` and ends or stops itself when bytes are stored.
function another(name, body) {
  writeFileSync(join(directory, name), body)
  return spawn(process.execPath, [fileURLToPath(import.meta.url), packages, client, endpoint, directory, name],
    { stdio: ['ignore', 'ignore', 'inherit'] })
}

function resumable(name, options = {}) {
  const urlStorage = new FileUrlStorage(join(directory, `${name}.urls`))
  return [readFileSync(join(directory, name)), { urlStorage, ...options }]
}

async function resumeStored(name, options) {
  const [body, given] = resumable(name, options)
  const { upload, done } = prepare(body, given)
  const [previous] = await upload.findPreviousUploads()
  upload.resumeFromPreviousUpload(previous)
  upload.start()
  await done
  leave(upload, body)
  return previous
}

// Whoever resumes before the aborted request has closed is told of its end as an error.
async function pause(upload) {
  await upload.abort()
  while (requests.some(({ sent }) => sent.destroyed && !sent.closed)) await turn()
}

// What `another` runs: an upload whose URL is stored when the signal comes.
async function begin(name, signal, options) {
  const [body, given] = resumable(name, options)
  await interrupt(body, given, async () => {
    while ((await given.urlStorage.findAllUploads()).length === 0) await wait(5)
    process.kill(process.pid, signal)
  })
}

const begun = {
  reloaded: () => begin('reloaded', 'SIGKILL'),
  'reloaded-parts': () => begin('reloaded-parts', 'SIGKILL', { parallelUploads: 3 }),
  suspended: () => begin('suspended', 'SIGSTOP'),
}

const scenarios = {
  async 'a file in one request'() {
    const body = randomBytes(SIZE)
    let progress
    await sendAll(body, { onProgress: (...given) => { progress = given } })
    deepEqual(methods(), ['POST', 'PATCH'])
    deepEqual(progress, [SIZE, SIZE])
  },

  async 'a file in chunks'() {
    const chunks = []
    await sendAll(randomBytes(SIZE), { chunkSize: CHUNK, onChunkComplete: (size) => chunks.push(size) })
    deepEqual(chunks, CHUNKS)
    deepEqual(methods(), ['POST', 'PATCH', 'PATCH', 'PATCH', 'PATCH'])
  },

  async 'metadata'() {
    const metadata = { filename: 'snow ☃ and umläut.bin', empty: '', filetype: 'text/plain' }
    const upload = await sendAll(randomBytes(10), { metadata })
    const answer = await fetch(upload.url, { method: 'HEAD', headers: { 'Tus-Resumable': '1.0.0' } })
    equal(answer.headers.get('upload-metadata'), header(requests[0], 'upload-metadata'))
  },

  async 'creation with data'() {
    await sendAll(randomBytes(SIZE), { uploadDataDuringCreation: true, chunkSize: CHUNK })
    deepEqual(methods(), ['POST', 'PATCH', 'PATCH', 'PATCH'])
    equal(requests[0].answer['upload-offset'], `${CHUNK}`)
  },

  async 'creation with all data'() {
    await sendAll(randomBytes(SIZE), { uploadDataDuringCreation: true })
    deepEqual(methods(), ['POST'])
  },

  async 'deferred length'() {
    const body = randomBytes(SIZE)
    await sendAll(body, { uploadLengthDeferred: true, chunkSize: CHUNK }, Readable.from(body, { objectMode: false }))
    equal(header(requests[0], 'upload-defer-length'), '1')
    equal(header(requests.at(-1), 'upload-length'), `${SIZE}`)
  },

  async 'deferred length, creation with data'() {
    const body = randomBytes(SIZE)
    const options = { uploadLengthDeferred: true, uploadDataDuringCreation: true, chunkSize: CHUNK }
    await sendAll(body, options, Readable.from(body, { objectMode: false }))
  },

  async 'deferred length, resumed'() {
    const body = randomBytes(SIZE)
    const options = { uploadLengthDeferred: true, chunkSize: CHUNK, retryDelays: [0] }
    let broken = false
    const onChunkComplete = async () => {
      if (broken) return
      broken = true
      await turn()
      requests.at(-1).sent.destroy(new Error('broken off'))
    }
    await sendAll(body, { ...options, onChunkComplete }, Readable.from(body, { objectMode: false }))
    assert(methods().includes('HEAD'))
  },

  async 'a stream of known size'() {
    const body = randomBytes(SIZE)
    await sendAll(body, { uploadSize: SIZE, chunkSize: CHUNK }, Readable.from(body, { objectMode: false }))
    equal(header(requests[0], 'upload-length'), `${SIZE}`)
  },

  async 'a file on disk'() {
    const body = randomBytes(SIZE)
    const path = join(directory, 'on-disk')
    writeFileSync(path, body)
    await sendAll(body, { chunkSize: CHUNK }, createReadStream(path))
  },

  async 'a Blob'() {
    const body = randomBytes(SIZE)
    await sendAll(body, { chunkSize: CHUNK }, client.endsWith('5') ? new Blob([body]) : body)
  },

  async 'an empty file'() {
    await sendAll(Buffer.alloc(0))
    deepEqual(methods(), ['POST'])
  },

  async 'an empty file with creation with data'() {
    await sendAll(Buffer.alloc(0), { uploadDataDuringCreation: true })
    deepEqual(methods(), ['POST'])
  },

  async 'headers'() {
    await sendAll(randomBytes(SIZE), { headers: { Authorization: 'Bearer x', 'X-Own': 'y' }, chunkSize: CHUNK })
    assert(requests.every((entry) => header(entry, 'x-own') === 'y' && entry.status < 300))
  },

  async 'request ids'() {
    await sendAll(randomBytes(SIZE), { addRequestId: true, chunkSize: CHUNK })
    equal(new Set(requests.map((entry) => header(entry, 'x-request-id'))).size, 5)
  },

  async 'method override'() {
    await sendAll(randomBytes(SIZE), { overridePatchMethod: true, chunkSize: CHUNK })
    deepEqual(new Set(methods()), new Set(['POST']))
    equal(header(requests[1], 'x-http-method-override'), 'PATCH')
  },

  async 'parallel uploads'() {
    const options = { metadata: { filename: 'whole' }, metadataForPartialUploads: { part: 'yes' } }
    const upload = await sendAll(randomBytes(SIZE), { parallelUploads: 4, ...options })
    const partials = requests.filter((entry) => header(entry, 'upload-concat') === 'partial')
    const posts = partials.filter((entry) => entry.method === 'POST')
    equal(posts.length, 4)
    assert(posts.every((entry) => header(entry, 'upload-metadata') === `part ${btoa('yes')}`))
    equal(header(requests.at(-1), 'upload-metadata'), `filename ${btoa('whole')}`)
    assert(header(requests.at(-1), 'upload-concat').startsWith('final;http'))
    for (const entry of posts) assert(entry.answer.location !== upload.url)
  },

  async 'parallel uploads, creation with data'() {
    await sendAll(randomBytes(SIZE), { parallelUploads: 3, uploadDataDuringCreation: true })
    deepEqual(methods(), ['POST', 'POST', 'POST', 'POST'])
  },

  async 'parallel uploads of given boundaries'() {
    const parallelUploadBoundaries = [{ start: 0, end: 7 }, { start: 7, end: 7 }, { start: 7, end: SIZE }]
    await sendAll(randomBytes(SIZE), { parallelUploads: 3, parallelUploadBoundaries })
  },

  async 'pause and resume'() {
    const body = randomBytes(LARGE)
    const { upload, done } = await interrupt(body, {}, pause)
    upload.start()
    await done
    leave(upload, body)
    deepEqual(methods(), ['POST', 'PATCH', 'HEAD', 'PATCH'])
  },

  async 'pause and resume five times'() {
    const body = randomBytes(LARGE)
    let pauses = 5
    const onProgress = (sent, total) => {
      if (pauses > 0 && sent > (6 - pauses) * (total / 8)) {
        pauses -= 1
        pause(upload).then(() => upload.start())
      }
    }
    const { upload, done } = prepare(body, { onProgress, chunkSize: 1 << 20 })
    upload.start()
    await done
    leave(upload, body)
    assert(methods().filter((method) => method === 'HEAD').length >= 5)
  },

  async 'pause and resume of parallel uploads'() {
    const body = randomBytes(LARGE)
    const { upload, done } = await interrupt(body, { parallelUploads: 3 }, pause)
    upload.start()
    await done
    leave(upload, body)
  },

  async 'resume after a reload'() {
    const [, signal] = await once(another('reloaded', randomBytes(LARGE)), 'exit')
    equal(signal, 'SIGKILL')
    const previous = await resumeStored('reloaded')
    deepEqual(methods(), ['HEAD', 'PATCH'])
    equal(left[0].url, previous.uploadUrl)
  },

  async 'resume of parallel uploads after a reload'() {
    const [, signal] = await once(another('reloaded-parts', randomBytes(LARGE)), 'exit')
    equal(signal, 'SIGKILL')
    const previous = await resumeStored('reloaded-parts')
    equal(previous.parallelUploadUrls.length, 3)
    equal(methods().filter((method) => method === 'HEAD').length, 3)
  },

  async 'resume beside a request that hangs'() {
    const hanging = another('suspended', randomBytes(LARGE))
    const state = () => /\) (\w)/.exec(readFileSync(`/proc/${hanging.pid}/stat`, 'utf8'))[1]
    while (state() !== 'T') await wait(5)
    try {
      await resumeStored('suspended')
    } finally {
      hanging.kill('SIGKILL')
    }
    deepEqual(methods(), ['HEAD', 'PATCH'])
  },

  async 'resume of a URL'() {
    const body = randomBytes(LARGE)
    const { upload } = await interrupt(body, {}, pause)
    await sendAll(body, { endpoint: undefined, uploadUrl: upload.url })
    equal(methods().filter((method) => method === 'POST').length, 1)
  },

  async 'resume of a finished upload'() {
    const body = randomBytes(SIZE)
    const upload = await send(body)
    await sendAll(body, { uploadUrl: upload.url })
    deepEqual(methods(), ['POST', 'PATCH', 'HEAD'])
  },

  async 'an upload that is gone is begun anew'() {
    const body = randomBytes(SIZE)
    const upload = await send(body)
    await tus.Upload.terminate(upload.url)
    leave(upload.url, null)
    await sendAll(body, { uploadUrl: upload.url })
    deepEqual(requests.slice(3).map((entry) => [entry.method, entry.status]), [['HEAD', 410], ['POST', 201], ['PATCH', 204]])
  },

  async 'stored URLs'() {
    const urlStorage = new FileUrlStorage(join(directory, 'kept.urls'))
    const body = randomBytes(SIZE)
    await sendAll(body, { urlStorage })
    equal((await urlStorage.findAllUploads()).length, 1)
    await sendAll(randomBytes(SIZE), { urlStorage, removeFingerprintOnSuccess: true })
    await sendAll(randomBytes(SIZE), { urlStorage, storeFingerprintForResuming: false })
    equal((await urlStorage.findAllUploads()).length, 1)
  },

  async 'a fingerprint of its own'() {
    const urlStorage = new FileUrlStorage(join(directory, 'own.urls'))
    await sendAll(randomBytes(SIZE), { urlStorage, fingerprint: () => Promise.resolve('own') })
    equal((await urlStorage.findUploadsByFingerprint('own')).length, 1)
  },

  async 'termination of a running upload'() {
    const { upload } = await interrupt(randomBytes(LARGE), {}, (upload) => upload.abort(true))
    leave(upload, null)
    equal(requests.at(-1).status, 204)
  },

  async 'termination of parallel uploads'() {
    const ended = { parallelUploads: 3 }
    await interrupt(randomBytes(LARGE), ended, (upload) => upload.abort(true))
    const created = requests.filter((entry) => entry.method === 'POST' && entry.status === 201)
    for (const entry of created) leave(entry.answer.location, null)
    assert(created.length > 0)
  },

  async 'retries after a reset'() {
    const body = randomBytes(LARGE)
    const asked = []
    const onShouldRetry = (error, attempt) => { asked.push(attempt); return true }
    const reset = () => requests.at(-1).sent.socket.resetAndDestroy()
    const { upload, done } = await interrupt(body, { retryDelays: [50, 50], onShouldRetry }, reset)
    await done
    leave(upload, body)
    deepEqual(asked, [0])
    deepEqual(methods(), ['POST', 'PATCH', 'HEAD', 'PATCH'])
  },

  async 'a refusal is told and not retried'() {
    const { upload, done } = prepare(randomBytes(10), { retryDelays: [0], headers: { 'Tus-Resumable': '0.0.9' } })
    upload.start()
    const error = await done.then(() => null, (error) => error)
    equal(error.originalResponse.getStatus(), 412)
    equal(error.originalResponse.getHeader('Tus-Version'), '1.0.0')
    deepEqual(methods(), ['POST'])
  },

  async 'callbacks around requests'() {
    const seen = []
    await sendAll(randomBytes(SIZE), {
      onBeforeRequest: (sent) => { sent.setHeader('X-Before', 'yes') },
      onAfterResponse: (sent, answer) => { seen.push([sent.getMethod(), answer.getStatus()]) },
      onUploadUrlAvailable: () => { seen.push('url') },
    })
    deepEqual(seen, [['POST', 201], 'url', ['PATCH', 204]])
    assert(requests.every((entry) => header(entry, 'x-before') === 'yes'))
  },

  async 'a reader of its own'() {
    let opened = 0
    const fileReader = {
      openFile(...given) {
        opened += 1
        return tus.defaultOptions.fileReader.openFile(...given)
      },
    }
    await sendAll(randomBytes(SIZE), { fileReader })
    equal(opened, 1)
  },

  async 'connections that are kept'() {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    const httpStack = new tus.defaultOptions.httpStack.constructor({ agent })
    await sendAll(randomBytes(SIZE), { httpStack, chunkSize: 100_000 })
    assert(requests.slice(1).every((entry) => entry.sent.reusedSocket))
    agent.destroy()
  },

  async 'protocol ietf-draft-03'() {
    await sendAll(randomBytes(SIZE), { protocol: 'ietf-draft-03', chunkSize: CHUNK })
    equal(header(requests[0], 'upload-draft-interop-version'), '5')
  },

  async 'protocol ietf-draft-05'() {
    await sendAll(randomBytes(SIZE), { protocol: 'ietf-draft-05', chunkSize: CHUNK })
    equal(header(requests[0], 'upload-draft-interop-version'), '6')
  },
}

async function run(name, scenario) {
  used = new Set()
  left = []
  requests = []
  let failed = null
  try {
    await scenario()
  } catch (error) {
    failed = `${error.stack}\n${requests.map((entry) => `${entry.method} ${entry.path} ${entry.status}`).join('\n')}`
  }
  console.log(JSON.stringify({ name, options: [...used], left, failed }))
}

if (wanted in begun) {
  await begun[wanted]()
} else {
  console.log(JSON.stringify({ options: Object.keys(tus.defaultOptions), scenarios: Object.keys(scenarios) }))
  for (const [name, scenario] of Object.entries(scenarios)) {
    if (wanted === undefined || wanted === name) await run(name, scenario)
  }
  process.exit(0)
}
