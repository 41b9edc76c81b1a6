// A client: node client.js PORT NAME. It prints what it is told. Nothing was added: `ws`, like every browser, answers Ping frames by itself.
'use strict'

const WebSocket = require('ws')

const [port, name] = process.argv.slice(2)
const socket = new WebSocket(`ws://127.0.0.1:${port}/room?key=key-${name}`)
socket.on('message', (data) => console.log(`${name} got: ${data}`))
socket.on('error', (error) => console.log(`${name}: ${error.message}`))
