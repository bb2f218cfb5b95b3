// @tus/server with its file store: node node_server.mjs MODULES PORT DIRECTORY
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const [modules, port, directory] = process.argv.slice(2)
const find = createRequire(`${modules}/`)
const { Server } = await import(pathToFileURL(find.resolve('@tus/server')))
const { FileStore } = await import(pathToFileURL(find.resolve('@tus/file-store')))
new Server({ path: '/files', datastore: new FileStore({ directory }) }).listen({ host: '127.0.0.1', port: Number(port) })
