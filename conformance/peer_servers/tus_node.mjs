// @tus/server with @tus/file-store, every extension that it has: node tus_node.mjs PORT DIRECTORY
import { FileStore } from '@tus/file-store'
import { Server } from '@tus/server'

const [port, directory] = process.argv.slice(2)
const datastore = new FileStore({ directory, expirationPeriodInMilliseconds: 86_400_000 })
const server = new Server({ path: '/files', datastore, maxSize: 2 ** 30 })

// The suite cuts connections; what is asked is how the server answers afterwards.
process.on('uncaughtException', (error) => console.error(error.message))
server.listen({ host: '127.0.0.1', port: Number(port) })
