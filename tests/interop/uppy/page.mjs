// Uppy's dashboard over its tus plugin, with the plugin's options taken as JSON from behind the # of the address.
// Puts what happened into window.seen: the methods of the requests, and the result of each run that ended.

import { Dashboard, Tus, Uppy } from './uppy.min.mjs'

const options = JSON.parse(decodeURIComponent(location.hash.slice(1)))
const seen = { requests: [], results: [] }

const uppy = new Uppy({ autoProceed: false })
  .use(Dashboard, { target: '#dashboard', inline: true, width: 600, height: 360, disableThumbnailGenerator: true })
  .use(Tus, {
    ...options,
    onBeforeRequest: (request) => {
      seen.requests.push(request.getMethod())
    },
  })

uppy.on('complete', ({ successful, failed }) => {
  seen.results.push({ successful: successful.map((file) => file.uploadURL), failed: failed.map((file) => file.error) })
})

Object.assign(window, { uppy, seen })
