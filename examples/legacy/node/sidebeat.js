// What was added to the app: whose a stream is, the hook that ends a session, and a push to a user.
'use strict'

const fs = require('node:fs')
const http = require('node:http')
const { keys, verify } = require('./receiver.js') // from examples/receivers

// The id of the stream that a WebSocket opening came on; a client cannot forge the header, sidebeat removes what it sends.
const streamOf = (request) => request.headers['sidebeat-stream-id']

// Says on the 101 answer whose stream this is. sidebeat keeps the header to itself.
function tellUser(headers, name) {
  headers.push(`sidebeat-uid: ${name}`)
}

// Answers requests on the inside port.
async function answer(request, response, offline) {
  const parts = []
  for await (const part of request) parts.push(part)
  const body = Buffer.concat(parts)
  const url = new URL(request.url, 'http://inside')
  if (request.method === 'POST' && url.pathname === '/_sidebeat') {
    response.writeHead(hook(request.headers, body, offline)).end()
  } else if (request.method === 'POST' && url.pathname === '/push') {
    push(url.searchParams.get('uid') ?? '', body, response)
  } else {
    response.writeHead(404).end()
  }
}

// A stream is over: the user whom it carried is offline, whatever TCP thinks. A repeated event does no harm.
function hook(headers, body, offline) {
  const secret = keys(fs.readFileSync(process.env.SIDEBEAT_SECRET_FILE))
  const header = (name) => headers['webhook-' + name] ?? ''
  if (!verify(secret, header('id'), header('timestamp'), header('signature'), body)) return 401
  const { data } = JSON.parse(body)
  offline(data.id, data.reason)
  return 204
}

// A text message to every socket of a user: sidebeat writes it, whichever process of the app holds the socket.
function push(uid, body, response) {
  const options = { socketPath: process.env.SIDEBEAT_ADMIN_SOCKET, path: `/v1/messages?uid=${encodeURIComponent(uid)}` }
  http.request({ ...options, method: 'POST', headers: { host: 'localhost', 'content-type': 'text/plain' } })
    .on('response', (answer) => answer.pipe(response.writeHead(answer.statusCode)))
    .on('error', () => response.writeHead(502).end())
    .end(body)
}

module.exports = { answer, streamOf, tellUser }
