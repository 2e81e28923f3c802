import t from 'tap'
import type { RxRing } from '../../../src/base/rings.js'
import { STAT_RX_PACKETS, STAT_TX_DOWN, STAT_TX_INVALID, STAT_TX_PACKETS } from '../../../src/tun/native.js'
import { TunDevice } from '../../../src/tun/tun-device.js'
import type { TunOptions } from '../../../src/tun/tun-device.js'
import { push, rings } from './memory-device.js'
import { inNamespace, isRoot } from './namespace.js'
import type { TestNamespace } from './namespace.js'

const needsRoot = { skip: !isRoot && 'needs CAP_NET_ADMIN and /dev/net/tun' }
const UDP = 17

function setUp(ns: TestNamespace, name: string): void {
  ns.ip(`addr add 198.18.0.1/29 dev ${name}`)
  ns.ip(`link set ${name} up`)
}

/** Sends a UDP packet in an rx slot back: addresses and ports swapped, which leaves every checksum as it is, partial ones too. */
function turnAround(rx: RxRing, slot: number): boolean {
  const ip = rx.slotOff(slot) + 10
  if (rx.bytes[ip] !== 0x45 || rx.bytes[ip + 9] !== UDP) return false
  swap(rx.bytes, ip + 12, 4)
  swap(rx.bytes, ip + 20, 2)
  return true
}

function swap(mem: Uint8Array, at: number, len: number): void {
  const first = mem.slice(at, at + len)
  mem.copyWithin(at, at + len, at + 2 * len)
  mem.set(first, at + len)
}

/** Sends back what comes until `body` is done. */
async function withEcho(options: TunOptions, slots: number, body: (device: TunDevice) => Promise<void>): Promise<void> {
  const device = new TunDevice(options)
  const r = rings(slots)
  device.onReady((readable) => {
    if (!readable) throw new Error('writable was not asked for')
    const count = device.readBatch(r.rx)
    for (let i = 0; i < count; i++) {
      if (!turnAround(r.rx, i)) continue
      r.tx.begin()
      r.tx.iov(r.rx.slotOff(i), r.rx.lens[i] as number)
      r.tx.end(0)
    }
    device.writeBatch(r.tx)
  })
  try {
    await body(device)
  } finally {
    device.close()
  }
}

const ECHO = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect(('198.18.0.2', 7))
count, size = int(sys.argv[1]), int(sys.argv[2])
for i in range(count): s.send(bytes([i]) * size)
for i in range(count):
    if s.recv(65536) != bytes([i]) * size: sys.exit(f'datagram {i} differs')
`

/** Command that sends datagrams at once and expects them back in order; exit code 0 when they came. */
const echo = (count: number, size: number): string[] => ['/usr/bin/python3', '-c', ECHO, String(count), String(size)]

t.test('packets go both ways, small and large, in batches through any number of slots', needsRoot, async (t) => {
  await inNamespace(async (ns) => {
    for (const slots of [1, 32]) {
      await withEcho({ name: 'tun%d', netns: ns.path }, slots, async (device) => {
        t.match(device.name, /^tun\d+$/)
        t.same(device.caps, { gso: true, mtu: 65_535 })
        setUp(ns, device.name)
        ns.ip(`link set ${device.name} mtu 65535`)
        t.equal(await ns.run(echo(20, 56)), 0)
        t.equal(await ns.run(echo(3, 65_000)), 0)
        t.ok((device.stats[STAT_RX_PACKETS] as number) >= 23)
        t.ok((device.stats[STAT_TX_PACKETS] as number) >= 23)
      })
    }
  })
})

t.test('a device without offloads says so', needsRoot, async (t) => {
  await inNamespace(async (ns) => {
    await withEcho({ name: 'plain0', netns: ns.path, noGso: true, mtu: 1400 }, 4, async (device) => {
      t.same(device.caps, { gso: false, mtu: 1400 })
      setUp(ns, device.name)
      t.equal(await ns.run(echo(3, 56)), 0)
    })
  })
})

t.test('several queues of one device, and a name that is taken', needsRoot, async (t) => {
  await inNamespace(async (ns) => {
    const first = new TunDevice({ name: 'multi0', netns: ns.path, multiQueue: true })
    const second = new TunDevice({ name: 'multi0', netns: ns.path, multiQueue: true })
    t.equal(second.name, 'multi0')
    t.throws(() => new TunDevice({ name: 'multi0', netns: ns.path, multiQueue: true, exclusive: true }), { code: /EEXIST|EBUSY/ })
    t.throws(() => new TunDevice({ name: 'multi0', netns: ns.path }), { code: 'EINVAL' }, 'a single queue of a multi-queue device')
    first.close()
    second.close()
    const single = new TunDevice({ name: 'single0', netns: ns.path })
    t.throws(() => new TunDevice({ name: 'single0', netns: ns.path }), { code: 'EBUSY' })
    single.close()
  })
})

t.test('refused packets are taken off the ring and counted by reason', needsRoot, async (t) => {
  await inNamespace(async (ns) => {
    const device = new TunDevice({ name: 'tun0', netns: ns.path })
    const r = rings(4)
    const ok = new Uint8Array(38)
    ok.set([0x45, 0, 0, 28], 10)
    push(r, ok, 38)
    t.equal(device.writeBatch(r.tx), 1)
    t.equal(device.stats[STAT_TX_DOWN], 1, 'the interface is down')
    setUp(ns, 'tun0')
    const bad = ok.slice()
    bad[1] = 1 // GSO of a size of 0
    push(r, bad, 38)
    push(r, ok, 38)
    t.equal(device.writeBatch(r.tx), 2)
    t.equal(r.tx.count, 0)
    t.equal(device.stats[STAT_TX_INVALID], 1)
    t.equal(device.stats[STAT_TX_PACKETS], 1, 'the one behind it went out')
    device.close()
  })
})

t.test('a device that is deleted is reported, and one that is closed is not', needsRoot, async (t) => {
  await inNamespace(async (ns) => {
    const gone = new Promise<void>((resolve) => {
      const device = new TunDevice({ name: 'gone0', netns: ns.path, onGone: resolve })
      device.onReady(() => t.fail('not readable'))
      t.teardown(() => device.close())
    })
    ns.ip('link del gone0')
    await gone
    const device = new TunDevice({ name: 'gone1', netns: ns.path, onGone: () => t.fail('closed by ourselves') })
    device.onReady(() => {})
    device.close()
    device.close()
    t.throws(() => ns.ip('link show gone1'), 'the interface goes with its descriptor')
  })
})

t.test('without the right to do so there is an error with a code', async (t) => {
  t.throws(() => new TunDevice({ name: 'x'.repeat(40) }), { code: 'ENAMETOOLONG' })
})
