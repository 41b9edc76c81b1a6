// The old app: a room on WebSocket, written with `ws` and no heartbeats. A client counts as online until its socket closes, and the
// socket of a client that vanished does not close.
//
//     node app.js [PORT FOR CLIENTS [PORT FOR THE INSIDE]]
'use strict'

const http = require('node:http')
const { WebSocketServer } = require('ws')
const sidebeat = require('./sidebeat.js') // what was added; without its four calls the app is as it was

const USERS = { 'key-anna': 'anna', 'key-ben': 'ben', 'key-carla': 'carla', 'key-dora': 'dora' }
const sessions = new Map() // key of a session => { name, socket, online, why }

const clients = http.createServer((_, response) => response.writeHead(426).end())
const room = new WebSocketServer({ noServer: true })

room.on('headers', (headers, request) => sidebeat.tellUser(headers, request.user))

clients.on('upgrade', (request, socket, head) => {
  const name = USERS[new URL(request.url, 'http://app').searchParams.get('key')]
  if (!name) return socket.end('HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\n')
  request.user = name
  room.handleUpgrade(request, socket, head, (ws) => enter(ws, name, sidebeat.streamOf(request) ?? Symbol(name)))
})

function enter(ws, name, key) {
  // Who is back is listed once.
  for (const [former, one] of sessions) if (one.name === name && !one.online) sessions.delete(former)
  sessions.set(key, { name, socket: ws, online: true, why: 'closed' })
  ws.on('error', () => ws.terminate())
  ws.on('close', () => offline(key))
  ws.on('message', (data) => {
    for (const one of sessions.values()) if (one.online) one.socket.send(`${name}: ${data}`)
  })
}

// Ends a session: the socket is closed, or sidebeat says that it is over.
function offline(key, why) {
  const session = sessions.get(key)
  if (session) Object.assign(session, { online: false, why: why ?? session.why })
}

const inside = http.createServer((request, response) => {
  if (request.method === 'GET' && request.url === '/online') {
    const lines = [...sessions.values()].map(({ name, online, why }) => `${name} ${online ? 'online' : `offline (${why})`}\n`)
    response.end(lines.sort().join(''))
  } else {
    sidebeat.answer(request, response, offline)
  }
})

clients.listen(Number(process.argv[2] ?? 7001), '127.0.0.1', () => {
  inside.listen(Number(process.argv[3] ?? 7002), '127.0.0.1', () => {
    console.log(JSON.stringify({ clients: clients.address().port, inside: inside.address().port }))
  })
})
