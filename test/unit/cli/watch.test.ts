import t from 'tap'
import { PathWatch } from '../../../src/cli/watch.js'
import type { Status, SubflowStatus } from '../../../src/engine/status.js'

const subflow = (path: string, local: string, bytesSent: number, bytesReceived: number, rttUs = 0): SubflowStatus =>
  ({ path, local, remote: 'r', bytesSent, bytesReceived, rttUs }) as SubflowStatus

function status(...connections: SubflowStatus[][]): Status {
  const paths = ['default', 'vpn', 'idle'].map((label, id) => ({ id, label }))
  return { paths, connections: connections.map((subflows, id) => ({ id, subflows })) } as unknown as Status
}

t.test('a line per path: rate both ways, round trip, share, between two looks', (t) => {
  const watch = new PathWatch()
  const first = status([subflow('default', 'a', 1000, 500_000, 10_000), subflow('vpn', 'b', 0, 100_000, 30_000)])
  t.equal(watch.look(first, 1000), null, 'one look is none')
  const second = status(
    [subflow('default', 'a', 1000, 1_750_000, 10_000), subflow('vpn', 'b', 0, 1_350_000, 30_000)],
    [subflow('default', 'c', 250_000, 0, 20_000)],
  )
  t.same(
    watch.look(second, 3000)?.map((line) => line.split(/ {2,}/)),
    [
      ['path', 'subflows', 'down', 'up', 'rtt', 'share'],
      ['default', '2', '5.00 Mbit/s', '1.00 Mbit/s', '11.7 ms', '55 %'],
      ['vpn', '1', '5.00 Mbit/s', '0 bit/s', '30.0 ms', '45 %'],
      ['idle', '0', '0 bit/s', '0 bit/s', '-', '0 %'],
    ],
  )
  // Another subflow at the same port: nothing becomes negative.
  t.match(watch.look(status([subflow('vpn', 'b', 0, 250_000, 30_000)]), 4000)?.[2], /^vpn +1 +2\.00 Mbit\/s +0 bit\/s/)
  t.end()
})
