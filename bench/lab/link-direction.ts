import type { Rng } from '../../src/base/rng.js'
import { Delay, Loss, Odds, Rate, Reorder, Valve } from '../../test/sim/links.js'
import type { Loop } from '../../test/sim/loop.js'
import { chain, type Sink } from '../../test/sim/node.js'
import { Jitter } from '../../test/sim/jitter.js'
import { type LinkSettings, withSettings } from './link-settings.js'

/** Counters of one direction since the lab was built; bytes without the link's overhead. */
export interface DirectionStats {
  readonly packetsIn: number
  readonly packetsOut: number
  readonly bytesOut: number
  readonly droppedCut: number
  readonly droppedLoss: number
  readonly droppedQueue: number
  /** Held packets that were really overtaken. */
  readonly reordered: number
  /** Packets that wait now, the one in transmission included. */
  readonly waiting: number
  /** Most bytes that ever waited. */
  readonly peakBytes: number
}

/**
 * One direction of a link: the simulator's nodes in a row.
 *
 *     entry -> cut -> loss -> rate and queue -> delay -> jitter -> reordering -> exit
 */
export class LinkDirection {
  readonly entry: Sink
  settings: LinkSettings
  private packetsOut = 0
  private bytesOut = 0
  private readonly valve: Valve
  private readonly lossOdds: Odds
  private readonly loss: Loss
  private readonly rate: Rate
  private readonly delay: Delay
  private readonly jitter: Jitter
  private readonly reorderOdds: Odds
  private readonly reorder: Reorder

  /** @param exit takes packets over; @param lost gets those that were dropped. */
  constructor(loop: Loop, rng: Rng, settings: LinkSettings, exit: Sink, lost: Sink) {
    this.settings = settings
    this.valve = new Valve(loop)
    this.lossOdds = new Odds(rng.fork(), 0)
    this.loss = new Loss(loop, this.lossOdds)
    this.rate = new Rate(loop, { bitsPerSecond: settings.rate })
    this.delay = new Delay(loop, 0)
    this.jitter = new Jitter(loop, rng.fork(), 0)
    this.reorderOdds = new Odds(rng.fork(), 0)
    this.reorder = new Reorder(loop, this.reorderOdds, 0)
    const nodes = [this.valve, this.loss, this.rate, this.delay, this.jitter, this.reorder]
    for (const node of nodes) node.lost = lost
    this.entry = chain(nodes, (packet) => {
      this.packetsOut++
      this.bytesOut += packet.length
      exit(packet)
    })
    this.apply(settings)
  }

  /** @throws {MptcpError} ERR_LAB_VALUE when `set` would */
  check(changes: Partial<LinkSettings>): void {
    withSettings(this.settings, changes)
  }

  /** Changes settings while packets are on the way: those that left the queue are not affected. @throws {MptcpError} ERR_LAB_VALUE */
  set(changes: Partial<LinkSettings>): void {
    this.apply(withSettings(this.settings, changes))
  }

  stats(): DirectionStats {
    return {
      packetsIn: this.valve.seen,
      packetsOut: this.packetsOut,
      bytesOut: this.bytesOut,
      droppedCut: this.valve.dropped,
      droppedLoss: this.loss.dropped,
      droppedQueue: this.rate.dropped,
      reordered: this.reorder.overtaken,
      waiting: this.rate.waitingPackets,
      peakBytes: this.rate.queuePeak,
    }
  }

  private apply(settings: LinkSettings): void {
    this.settings = settings
    this.valve.isOpen = settings.up
    this.lossOdds.p = settings.loss
    this.rate.bitsPerSecond = settings.rate
    this.rate.overheadBytes = settings.overhead
    this.rate.queuePackets = settings.queue
    this.rate.queueBytes = settings.queueBytes
    this.delay.delayUs = settings.delay - settings.jitter
    this.jitter.spreadUs = 2 * settings.jitter
    this.reorderOdds.p = settings.reorder
    this.reorder.holdUs = settings.reorderHold
    const { reorderPort } = settings
    this.reorder.concerns = reorderPort === 0 ? () => true : (packet) => hasPort(packet, reorderPort)
  }
}

/** Whether an IP packet with TCP or UDP in it is from or to that port; fragments and extension headers are not looked behind. */
function hasPort(packet: Uint8Array, port: number): boolean {
  const isV4 = (packet[0] as number) >>> 4 === 4
  const protocol = packet[isV4 ? 9 : 6]
  if (protocol !== 6 && protocol !== 17) return false
  const at = isV4 ? ((packet[0] as number) & 15) * 4 : 40
  const word = (off: number): number => ((packet[off] as number) << 8) | (packet[off + 1] as number)
  return packet.length >= at + 4 && (word(at) === port || word(at + 2) === port)
}
