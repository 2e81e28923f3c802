import t from 'tap'
import { type Change, parseChanges } from '../../../src/host/rtnetlink.js'
import { keyOf, parseRoute, type Route } from '../../../src/host/route-text.js'

/** Builds a netlink message by hand: little-endian header, rtmsg or fib_rule_hdr, attributes. */
function message(type: number, head: readonly number[], attributes: readonly [number, readonly number[]][]): Uint8Array {
  const body = attributes.flatMap(([kind, value]) => {
    const len = 4 + value.length
    return [len & 255, len >> 8, kind & 255, kind >> 8, ...value, ...Array<number>((4 - (len % 4)) % 4).fill(0)]
  })
  const len = 16 + head.length + body.length
  return Uint8Array.from([len & 255, len >> 8, 0, 0, type, 0, 0, 0, ...Array<number>(8).fill(0), ...head, ...body])
}

const u32 = (value: number): number[] => [value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >>> 24) & 255]
/** rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags */
const rtmsg = (family: number, dstLen: number, table: number, protocol: number, type = 1): number[] => [
  family,
  dstLen,
  0,
  0,
  table,
  protocol,
  0,
  type,
  0,
  0,
  0,
  0,
]
const NEWROUTE = 24
const DELROUTE = 25
const names = new Map([
  [2, 'eth0'],
  [3, 'eth1'],
])
const parse = (bytes: Uint8Array): Change[] => parseChanges(bytes, bytes.length, (index) => names.get(index) ?? null)

t.test('a route is named as its printed line is', (t) => {
  const [change] = parse(
    message(DELROUTE, rtmsg(2, 24, 254, 3), [
      [1, [10, 9, 0, 0]],
      [6, u32(100)],
      [5, [10, 0, 0, 1]],
      [4, u32(2)],
    ]),
  )
  const printed = parseRoute('10.9.0.0/24 via 10.0.0.1 dev eth0 metric 100') as Route
  t.match(change, { kind: 'route', family: 4, isDelete: true, isOwn: false, key: keyOf(printed) })
  const [v6] = parse(
    message(NEWROUTE, rtmsg(10, 0, 254, 9), [
      [15, u32(254)],
      [6, u32(1024)],
      [5, [0xfe, 0x80, ...Array<number>(13).fill(0), 1]],
      [4, u32(2)],
    ]),
  )
  t.match(v6, { kind: 'route', family: 6, isDelete: false, key: keyOf(parseRoute('default via fe80::1 dev eth0 metric 1024') as Route) })
  t.end()
})

t.test('multipath routes, host routes, routes that reject', (t) => {
  const hop = (index: number, gateway: number[]): number[] => [16, 0, 0, 0, ...u32(index), 8, 0, 5, 0, ...gateway]
  const [multi] = parse(message(NEWROUTE, rtmsg(2, 0, 254, 4), [[9, [...hop(2, [10, 0, 0, 1]), ...hop(3, [10, 1, 0, 1])]]]))
  const text = 'default nexthop via 10.0.0.1 dev eth0 weight 1 nexthop via 10.1.0.1 dev eth1 weight 1'
  t.match(multi, { key: keyOf(parseRoute(text) as Route), devices: ['eth0', 'eth1'] })
  const [host] = parse(
    message(NEWROUTE, rtmsg(2, 32, 254, 4), [
      [1, [192, 0, 2, 1]],
      [4, u32(2)],
    ]),
  )
  t.match(host, { key: keyOf(parseRoute('192.0.2.1 dev eth0') as Route) })
  const [reject] = parse(
    message(NEWROUTE, rtmsg(10, 0, 254, 4, 7), [
      [6, u32(5)],
      [4, u32(1)],
    ]),
  )
  t.match(reject, { key: keyOf(parseRoute('unreachable default dev lo metric 5') as Route), devices: [] })
  t.end()
})

t.test('other tables and rules say only whether they are ours', (t) => {
  t.same(parse(message(DELROUTE, rtmsg(2, 0, 252, 119), [[15, u32(7700)]])), [{ kind: 'table', isDelete: true, isOwn: true }])
  t.same(
    parse(
      message(33, rtmsg(2, 0, 0, 0), [
        [6, u32(7700)],
        [21, [119]],
      ]),
    ),
    [{ kind: 'rule', isDelete: true, isOwn: true }],
  )
  t.same(
    parse(
      message(33, rtmsg(2, 0, 0, 0), [
        [6, u32(5000)],
        [21, [119]],
      ]),
    ),
    [{ kind: 'rule', isDelete: true, isOwn: false }],
  )
  t.end()
})

t.test('truncated and foreign messages are passed over', (t) => {
  const good = message(NEWROUTE, rtmsg(2, 32, 254, 4), [
    [1, [192, 0, 2, 1]],
    [4, u32(2)],
  ])
  const foreign = message(99, rtmsg(2, 0, 0, 0), [])
  t.equal(parse(Uint8Array.from([...foreign, ...good])).length, 1)
  for (let len = 0; len < good.length; len++) t.doesNotThrow(() => parseChanges(good, len, () => null))
  for (let i = 0; i < 2000; i++) {
    const bytes = Uint8Array.from(good)
    bytes[(i * 7) % bytes.length] = (i * 31) & 255
    bytes[(i * 13) % bytes.length] = (i * 17) & 255
    parse(bytes)
  }
  t.pass('nor do damaged ones throw')
  t.end()
})
