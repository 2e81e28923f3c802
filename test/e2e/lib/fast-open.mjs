// A program that embeds the stack: opens three connections by Fast Open, one after the other, each with the same request.
// Arguments: TUN, its address, the stack's address, prefix length, server, port.
import { execFileSync } from 'node:child_process'
import { createStack, TunDevice } from '../../../dist/src/index.js'

const [, , name, tunAddress, stackAddress, server, port] = process.argv
const device = new TunDevice({ name })
execFileSync('ip', ['address', 'add', `${tunAddress}/30`, 'dev', name])
execFileSync('ip', ['link', 'set', name, 'up'])
const stack = createStack({ device, config: { addresses: [`${stackAddress}/30`] } })
const request = Buffer.alloc(700, 'a')
const replies = []
for (let i = 0; i < 3; i++) {
  const stream = stack.connect({ host: server, port: Number(port), fastOpen: true })
  stream.write(request)
  stream.end(Buffer.alloc(20_000, 'b'))
  let reply = ''
  for await (const chunk of stream.setEncoding('latin1')) reply += chunk
  replies.push({ reply, isPlain: stream.conn.fallbackReason !== 0 })
}
console.log(JSON.stringify({ replies, counters: stack.counters() }))
stack.close()
device.close()
