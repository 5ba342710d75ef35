// A js-libp2p peer driven by JSON lines on stdin; every line is answered by one on stdout.
import { createInterface } from 'node:readline'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const ECHO = '/echo/1.0.0'
const CARD = '/praxis/card/1.0.0'
const STREAMS = { maxInboundStreams: 2000, maxOutboundStreams: 2000 }
const DIAL = { maxOutboundStreams: 2000 }

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), ping: ping() },
  connectionManager: { inboundConnectionThreshold: 10000 },
})

function say (message) {
  process.stdout.write(JSON.stringify(message) + '\n')
}

async function write (stream, bytes) {
  if (!stream.send(bytes)) {
    await stream.onDrain()
  }
}


async function readLine (stream) {
  let text = Buffer.alloc(0)
  for await (const chunk of stream) {
    text = Buffer.concat([text, chunk.subarray()])
    if (text.includes(10)) {
      break
    }
  }
  return JSON.parse(text.toString().trim())
}

function card () {
  return {
    name: 'js', version: '1.0.0', peerId: node.peerId.toString(), capabilities: ['p2p'],
    tools: [], timestamp: Math.floor(Date.now() / 1000),
  }
}

async function swapCards (stream, first) {
  const mine = Buffer.from(JSON.stringify(card()) + '\n')
  if (first) {
    await write(stream, mine)
    const theirs = await readLine(stream)
    await stream.close()
    return theirs
  }
  const theirs = await readLine(stream)
  await write(stream, mine)
  await stream.close()
  return theirs
}

await node.handle(ECHO, async (stream) => {
  for await (const chunk of stream) {
    await write(stream, chunk.subarray())
  }
  await stream.close()
}, STREAMS)

const received = []
await node.handle(CARD, async (stream) => {
  received.push(await swapCards(stream, true))
}, STREAMS)

async function echo (peer, data) {
  const stream = await node.dialProtocol(peer, ECHO, DIAL)
  const reading = (async () => {
    const chunks = []
    let size = 0
    for await (const chunk of stream) {
      chunks.push(chunk.subarray())
      size += chunk.byteLength
      if (size >= data.length) {
        break
      }
    }
    return Buffer.concat(chunks)
  })()
  for (let i = 0; i < data.length; i += 65536) {
    await write(stream, data.subarray(i, i + 65536))
  }
  const answer = await reading
  await stream.close()
  return answer
}

const commands = {
  async dial ({ addr }) {
    const connection = await node.dial(multiaddr(addr))
    return { peer_id: connection.remotePeer.toString() }
  },
  async ping ({ peer_id }) {
    return { rtt: await node.services.ping.ping(peerIdFromString(peer_id)) }
  },
  async identify ({ peer_id }) {
    const [connection] = node.getConnections(peerIdFromString(peer_id))
    const told = await node.services.identify.identify(connection)
    return { agent_version: told.agentVersion, protocols: told.protocols }
  },
  async echo ({ peer_id, size }) {
    const data = Buffer.alloc(size, 'praxis-fast ')
    const answer = await echo(peerIdFromString(peer_id), data)
    return { equal: data.equals(answer), size: answer.length }
  },
  async streams ({ peer_id, count, parallel }) {
    const peer = peerIdFromString(peer_id)
    let next = 0
    let good = 0
    async function worker () {
      while (next < count) {
        const data = Buffer.from(`stream ${next++}`)
        const answer = await echo(peer, data)
        good += data.equals(answer) ? 1 : 0
      }
    }
    await Promise.all(Array.from({ length: parallel }, worker))
    return { good }
  },
  async card ({ peer_id, write_first }) {
    const stream = await node.dialProtocol(peerIdFromString(peer_id), CARD, DIAL)
    return { card: await swapCards(stream, write_first) }
  },
  async cards () {
    return { cards: received }
  },
  async hangup ({ peer_id }) {
    await node.hangUp(peerIdFromString(peer_id))
    return {}
  },
}

say({ peer_id: node.peerId.toString(), addrs: node.getMultiaddrs().map(String) })
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  commands[request.command](request).then(
    answer => say({ id: request.id, ...answer }),
    error => say({ id: request.id, error: String(error.stack ?? error) }),
  )
}
await node.stop()
process.exit(0)
