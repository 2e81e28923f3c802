/**
 * The bare relay: the yardstick of the goodput requirement. A process of its own that owns tun0 and does the least that any
 * relay on the product's path can do: application packets get a stack address as source and go back into the TUN, replies get
 * the application's address back. TCP is not terminated; ports, sequence numbers and payload stay as they are.
 *
 *     application 198.18.0.1 -> tun0 -> here: source := 198.18.0.2 -> tun0 -> forward, masquerade -> eth0
 *
 * Prints "ready" when the interface exists, and on SIGTERM its statistics as one line of JSON.
 */
import { Arena } from '../src/base/arena.js'
import { readU16, writeU16 } from '../src/base/bytes.js'
import { updateChecksum } from '../src/base/checksum.js'
import { RX_SLOT_LEN, RxRing, TX_HEADER_ROOM, TxRing, VNET_HDR_LEN } from '../src/base/rings.js'
import { TunDevice } from '../src/tun/tun-device.js'

const SLOTS = 32
/** Low words of 198.18.0.1 and 198.18.0.2; the high words are equal. */
const APP = 0x0001
const STACK = 0x0002
const NEEDS_CSUM = 1
const TCP = 6

const arena = new Arena(SLOTS * (RX_SLOT_LEN + TX_HEADER_ROOM + 64) * 2, 0)
const rx = new RxRing(arena, SLOTS)
const tx = new TxRing(arena, SLOTS)
const mem = arena.bytes
const device = new TunDevice({ name: 'tun0' })
const counts = { app: { packets: 0, bytes: 0 }, net: { packets: 0, bytes: 0 }, dropped: 0 }

/** Replaces the low word of an address at `at`, in the IPv4 header's checksum and in TCP's. */
function rewrite(off: number, at: number, before: number, after: number): void {
  const ip = off + VNET_HDR_LEN
  const checksumAt = ip + 4 * ((mem[ip] as number) & 15) + 16
  writeU16(mem, at, after)
  writeU16(mem, ip + 10, updateChecksum(readU16(mem, ip + 10), before, after))
  const field = readU16(mem, checksumAt)
  // A partial checksum is the pseudo-header's sum itself, not its complement.
  const isPartial = ((mem[off] as number) & NEEDS_CSUM) !== 0
  writeU16(mem, checksumAt, isPartial ? ~updateChecksum(~field & 0xffff, before, after) & 0xffff : updateChecksum(field, before, after))
}

function relay(off: number, len: number): boolean {
  const ip = off + VNET_HDR_LEN
  if (len < VNET_HDR_LEN + 40 || (mem[ip] as number) >>> 4 !== 4 || mem[ip + 9] !== TCP) return false
  const src = readU16(mem, ip + 14)
  const dst = readU16(mem, ip + 18)
  if (src === APP && readU16(mem, ip + 12) === 0xc612) {
    rewrite(off, ip + 14, APP, STACK)
    counts.app.packets++
    counts.app.bytes += len - VNET_HDR_LEN
  } else if (dst === STACK && readU16(mem, ip + 16) === 0xc612) {
    rewrite(off, ip + 18, STACK, APP)
    counts.net.packets++
    counts.net.bytes += len - VNET_HDR_LEN
  } else return false
  return true
}

device.onReady(() => {
  const count = device.readBatch(rx)
  for (let i = 0; i < count; i++) {
    const off = rx.slotOff(i)
    const len = rx.lens[i] as number
    if (!relay(off, len)) {
      counts.dropped++
      continue
    }
    tx.begin()
    tx.iov(off, len)
    tx.end(0)
  }
  // What the device does not take stays in slots that are about to be overwritten: it is lost, as at any full queue.
  device.writeBatch(tx)
  tx.take(tx.count)
})

process.once('SIGTERM', () => {
  device.close()
  process.stdout.write(`${JSON.stringify({ ...counts, stats: Array.from(device.stats) })}\n`)
})
process.stdout.write('ready\n')
