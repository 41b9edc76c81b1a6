// A receiver of sidebeat's hooks: Node 18 or newer, nothing else.
//
//     SIDEBEAT_SECRET_FILE=secret node receiver.js 8080
//
// Copy `keys` and `verify` into your app.
'use strict'

const crypto = require('node:crypto')
const fs = require('node:fs')
const http = require('node:http')

const TOLERANCE = 5 * 60 // seconds

// The keys in the bytes of a secret file: one a line, `whsec_` and base64 or else the line as it is.
function keys(text) {
  // latin1 keeps every byte as it is.
  const lines = text.toString('latin1').split('\n').map((line) => line.replace(/\r$/, ''))
  return lines.filter((line) => line.trim() !== '').map((line) => {
    if (!line.startsWith('whsec_')) return Buffer.from(line, 'latin1')
    const encoded = line.slice('whsec_'.length).trimEnd()
    if (!/^[A-Za-z0-9+/]+=*$/.test(encoded)) throw new Error('what follows whsec_ must be base64')
    return Buffer.from(encoded, 'base64')
  })
}

// Whether the bytes of a body were signed, lately, by somebody who has one of the keys.
function verify(keys, id, timestamp, signatures, body, now = Date.now() / 1000) {
  if (!/^[0-9]+$/.test(timestamp)) return false
  if (Math.abs(now - Number(timestamp)) > TOLERANCE) return false
  let good = false
  for (const key of keys) {
    const mac = crypto.createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body)
    const expected = Buffer.from('v1,' + mac.digest('base64'))
    for (const signature of signatures.split(' ')) {
      const given = Buffer.from(signature)
      // Every pair is compared, in constant time: the clock tells nobody which one was nearly right.
      if (given.length === expected.length && crypto.timingSafeEqual(given, expected)) good = true
    }
  }
  return good
}

// Your part. An event may come more than once: its id is the key to know it by.
function take(event) {
  const data = event.data
  if (event.type === 'sidebeat.stream.closed') {
    console.log(`${event.id} stream ${data.id} of ${data.uid} is over: ${data.reason}, ${data.uid_streams_left} left`)
  } else {
    console.log(`${event.id} ${event.type}`)
  }
}

function serve(secret, port) {
  const server = http.createServer((request, response) => {
    const parts = []
    request.on('data', (part) => parts.push(part))
    request.on('end', () => {
      const body = Buffer.concat(parts)
      const header = (name) => request.headers['webhook-' + name] ?? ''
      const good = verify(secret, header('id'), header('timestamp'), header('signature'), body)
      if (good) take(JSON.parse(body))
      response.writeHead(good ? 204 : 401).end()
    })
  })
  server.listen(port, '127.0.0.1', () => console.log('listening on', server.address().port))
}

module.exports = { keys, verify }

if (require.main === module) {
  const secret = keys(fs.readFileSync(process.env.SIDEBEAT_SECRET_FILE))
  if (secret.length === 0) throw new Error('the secret file holds no key')
  serve(secret, Number(process.argv[2] ?? 8080))
}
