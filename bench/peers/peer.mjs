// A js-libp2p peer for the benches of links; see praxis_fast.benchmarks.link_peer.
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
const BENCH = '/praxis/bench/1.0.0'
const PING = '/ipfs/ping/1.0.0'
const PIECE = Buffer.alloc(64 * 1024)
const STREAMS = { maxInboundStreams: 100000, maxOutboundStreams: 100000 }

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux({ maxInboundStreams: 100000, maxOutboundStreams: 100000 })],
  services: { identify: identify(), ping: ping() },
  connectionManager: { inboundConnectionThreshold: 10000 },
})

function say (message) {
  process.stdout.write(JSON.stringify(message) + '\n')
}

const seconds = start => (performance.now() - start) / 1000

async function write (stream, bytes) {
  if (!stream.send(bytes)) {
    await stream.onDrain()
  }
}

async function give (stream, size) {
  for (; size > 0; size -= PIECE.length) {
    await write(stream, size < PIECE.length ? PIECE.subarray(0, size) : PIECE)
  }
}

// What a stream brings: so many bytes to look at, or to throw away.
class Reader {
  constructor (stream) {
    this.chunks = stream[Symbol.asyncIterator]()
    this.held = Buffer.alloc(0)
  }

  async more () {
    const { value, done } = await this.chunks.next()
    if (done) {
      throw new Error('stream ended')
    }
    return value
  }

  async read (size) {
    while (this.held.length < size) {
      this.held = Buffer.concat([this.held, (await this.more()).subarray()])
    }
    const data = this.held.subarray(0, size)
    this.held = this.held.subarray(size)
    return data
  }

  async skip (size) {
    const first = Math.min(size, this.held.length)
    this.held = this.held.subarray(first)
    size -= first
    while (size > 0) {
      const chunk = await this.more()
      if (chunk.byteLength > size) {
        this.held = Buffer.from(chunk.subarray(size))
      }
      size -= chunk.byteLength
    }
  }
}

await node.handle(ECHO, async (stream) => {
  for await (const chunk of stream) {
    await write(stream, chunk.subarray())
  }
  await stream.close()
}, STREAMS)

await node.handle(BENCH, async (stream) => {
  const reader = new Reader(stream)
  const sizes = Buffer.from(await reader.read(16))
  await reader.skip(Number(sizes.readBigUInt64BE(0)))
  await write(stream, sizes.subarray(0, 8))
  await give(stream, Number(sizes.readBigUInt64BE(8)))
  await stream.close()
}, STREAMS)

function identified (peerId) {
  return new Promise(resolve => {
    const listener = event => {
      if (event.detail.peerId.equals(peerId)) {
        node.removeEventListener('peer:identify', listener)
        resolve()
      }
    }
    node.addEventListener('peer:identify', listener)
  })
}

const commands = {
  async cpu () {
    const used = process.cpuUsage()
    return { seconds: (used.user + used.system) / 1e6 }
  },
  async dial ({ addr, count }) {
    const peerId = peerIdFromString(addr.split('/').pop())
    const found = []
    for (let number = 0; number < count; number++) {
      const start = performance.now()
      const known = identified(peerId)
      await node.dial(multiaddr(addr))
      await known
      found.push(seconds(start))
      if (number < count - 1) {
        await node.hangUp(peerId)
      }
    }
    return { seconds: found, peer_id: peerId.toString() }
  },
  async hangup ({ peer_id }) {
    await node.hangUp(peerIdFromString(peer_id))
    return {}
  },
  async ping ({ peer_id, count }) {
    const stream = await node.dialProtocol(peerIdFromString(peer_id), PING, STREAMS)
    const reader = new Reader(stream)
    const found = []
    for (let number = 0; number < count; number++) {
      const start = performance.now()
      await write(stream, Buffer.alloc(32))
      await reader.read(32)
      found.push(seconds(start))
    }
    await stream.close()
    return { seconds: found }
  },
  async transfer ({ peer_id, up, down }) {
    const stream = await node.dialProtocol(peerIdFromString(peer_id), BENCH, STREAMS)
    const reader = new Reader(stream)
    const sizes = Buffer.alloc(16)
    sizes.writeBigUInt64BE(BigInt(up), 0)
    sizes.writeBigUInt64BE(BigInt(down), 8)
    const start = performance.now()
    await write(stream, sizes)
    await give(stream, up)
    await reader.read(8)
    await reader.skip(down)
    const spent = seconds(start)
    await stream.close()
    return { seconds: spent }
  },
  async streams ({ peer_id, count, parallel }) {
    const peer = peerIdFromString(peer_id)
    let next = 0
    async function worker () {
      while (next < count) {
        const data = Buffer.from(`stream ${next++}`)
        const stream = await node.dialProtocol(peer, ECHO, STREAMS)
        await write(stream, data)
        await new Reader(stream).read(data.length)
        await stream.close()
      }
    }
    const start = performance.now()
    await Promise.all(Array.from({ length: parallel }, worker))
    return { seconds: seconds(start) }
  },
}

say({ peer_id: node.peerId.toString(), addrs: node.getMultiaddrs().map(String) })
for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line)
  try {
    say({ id: request.id, ...await commands[request.command](request) })
  } catch (error) {
    say({ id: request.id, error: String(error.stack ?? error) })
  }
}
process.exit(0)
