// Uploads one file with the real tus-js-client and prints what happened as one line of JSON.
//
//   node upload.mjs <file> <endpoint> [<options as JSON>]
//
// Options: chunkSize, parallelUploads, uploadDataDuringCreation, overridePatchMethod, addRequestId, metadata,
// retryDelays, stream (read the file as a stream), deferred (do not say the length), abortAt (abort after so many
// bytes and resume with a new upload by its URL), store (a file for URLs: find a previous upload there first),
// terminate (abort at abortAt and terminate).

import { createReadStream, readFileSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { fileURLToPath } from 'node:url'

// The package may be anywhere: TUS_JS_HOME names the directory that has node_modules.
const require = createRequire(join(process.env.TUS_JS_HOME ?? fileURLToPath(new URL('.', import.meta.url)), 'package.json'))
const tus = require('tus-js-client')

const [path, endpoint, json = '{}'] = process.argv.slice(2)
const { stream, deferred, abortAt, store, terminate, ...options } = JSON.parse(json)

const requests = []
const size = statSync(path).size

const source = () => {
  // Hidden behind a PassThrough, or the client would look the size up and never see the end of the stream.
  if (deferred) return createReadStream(path).pipe(new PassThrough())
  // A stream of a file has a path, under which the client opens it as often as it likes.
  return stream || options.parallelUploads > 1 ? createReadStream(path) : readFileSync(path)
}

const settings = {
  endpoint,
  retryDelays: [0, 50, 200, 500, 1000],
  ...options,
  ...(deferred ? { uploadLengthDeferred: true } : stream ? { uploadSize: size } : {}),
  ...(store ? { urlStorage: new tus.FileUrlStorage(store), fingerprint: async () => `interop-${path}` } : {}),
  onBeforeRequest: (request) => {
    requests.push(`${request.getHeader('X-HTTP-Method-Override') ?? request.getMethod()}`)
  },
}

const run = (extra = {}) =>
  new Promise((resolve, reject) => {
    let stopped = false
    const upload = new tus.Upload(source(), {
      ...settings,
      ...extra,
      onSuccess: () => resolve({ url: upload.url, stopped: false }),
      onError: reject,
      onProgress: (sent) => {
        if (extra.abortAt === undefined || sent < extra.abortAt || !upload.url || stopped) return
        stopped = true
        upload.abort(Boolean(terminate)).then(() => resolve({ url: upload.url, stopped: true }), reject)
      },
    })
    if (store && extra.abortAt === undefined) {
      upload.findPreviousUploads().then((previous) => {
        if (previous.length) upload.resumeFromPreviousUpload(previous[0])
        upload.start()
      }, reject)
    } else {
      upload.start()
    }
  })

// Sockets that were cut under the client would keep node waiting for seconds.
const finish = (code, said) => process.stdout.write(`${JSON.stringify({ ...said, requests })}\n`, () => process.exit(code))

try {
  let result
  let aborted = false
  if (abortAt === undefined) {
    result = await run()
  } else {
    result = await run({ abortAt })
    aborted = result.stopped
    if (aborted && !terminate) result = await run(store ? {} : { uploadUrl: result.url })
  }
  finish(0, { url: result.url, aborted })
} catch (error) {
  finish(1, { error: String(error), status: error.originalResponse?.getStatus() ?? null })
}
