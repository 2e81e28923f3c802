import t from 'tap'
import { forSeeds } from '../../oracle/seeds.js'
import type { Rng } from '../../../src/base/rng.js'
import type { Micros } from '../../../src/base/time.js'
import type { Path } from '../../../src/pathmgr/path.js'
import { MS, NatPair, S } from './nat-harness.js'

const LOSS = 0.1
const REORDERED = 0.25
/** Client to detour and back. */
const RTT_US = 30 * MS
/** What is reordered comes so much later. */
const HOLD_US = 12 * MS
/** From the arrival of a MAP until the detour's kernel translates. */
const KERNEL_US = 2 * MS
/** TCP repeats a SYN after that, by itself. */
const SYN_RTO_US = 1 * S

/** Joins by fresh mappings, one after the other, with faults on the control packets alone. */
class Joins {
  /** Of each: how much later its SYN came through the detour than by a mapping that had always been there. */
  readonly lateUs: Micros[] = []
  /** What came to pass. */
  readonly happened = { reordered: 0, early: 0, repeated: 0, tentative: 0, datagrams: 0 }
  readonly pair: NatPair
  private remotePort = 1000

  constructor(rng: Rng, isFaulty: boolean) {
    const pair = new NatPair({ seed: rng.int32() })
    this.pair = pair
    pair.oneWayUs = RTT_US / 2
    pair.daemonUs = KERNEL_US
    if (isFaulty) {
      pair.drop = () => rng.chance(LOSS)
      pair.copies = () => {
        if (!rng.chance(REORDERED)) return [0]
        this.happened.reordered++
        return [HOLD_US]
      }
    }
    pair.client.onTimeout(0)
    pair.run(60 * S)
  }

  /** An application connects and joins as soon as it may. @param serverRttUs to the server and back */
  join(serverRttUs: Micros): void {
    const { pair, happened } = this
    const port = this.remotePort++
    const sent = pair.sentAt.length
    pair.connect(1, port)
    pair.run(2 * serverRttUs) // SYN and SYN/ACK, request and its acknowledgement: the first DSS
    const permitted = pair.now
    let path = [...pair.paths.values()].find((one) => one.remote?.port === port) as Path
    let passedAt = -1
    if (path.isTentative) happened.tentative++
    pair.use(path.id, 1)
    const sendSyn = (): void => {
      const { destinationPort } = path
      pair.after(RTT_US / 2, () => {
        const isMapped = pair.daemon.mappedSince(port, destinationPort) <= pair.now - KERNEL_US
        if (!isMapped) happened.early++
        else if (passedAt < 0) passedAt = pair.now
      })
    }
    pair.onPath = (shown) => {
      if (shown.id !== path.id) return
      const isConfirmed = path.isTentative && !shown.isTentative
      path = shown
      if (!isConfirmed || passedAt >= 0) return
      happened.repeated++
      sendSyn()
    }
    pair.onRejoin = (id) => {
      if (id !== path.id || passedAt >= 0) return
      happened.repeated++
      sendSyn()
    }
    sendSyn()
    pair.after(SYN_RTO_US, () => {
      if (passedAt < 0) sendSyn()
    })
    pair.run(3 * S)
    if (passedAt < 0) throw new Error('it never joined')
    this.lateUs.push(passedAt - permitted - RTT_US / 2)
    happened.datagrams += pair.sentAt.length - sent
    pair.use(path.id, -1)
  }
}

const PAIRS = 12
const JOINS = 100

t.test('by a fresh mapping, control packets lost and reordered: at most one round trip to the detour later, at p99', async (tt) => {
  await forSeeds(tt, [1], (rng) => {
    const all = Array.from({ length: PAIRS }, () => new Joins(rng, true))
    for (const joins of all) for (let i = 0; i < JOINS; i++) joins.join(RTT_US * (1 + (i % 3) / 4))
    const lateUs = all.flatMap((joins) => joins.lateUs).sort((a, b) => a - b)
    const at = (q: number): Micros => lateUs[Math.min(lateUs.length - 1, Math.floor(q * lateUs.length))] as Micros
    const row = [0.5, 0.9, 0.98, 0.99, 0.995, 0.999, 1].map((q) => `p${q * 100} ${at(q) / MS}`)
    const over = lateUs.filter((late) => late > RTT_US).length
    tt.comment(`${lateUs.length} joins, ms late: ${row.join(', ')}; ${over} more than one round trip`)
    tt.equal(at(0.95), 0, 'hardly any is late at all')
    tt.ok(at(0.99) <= (3 * RTT_US) / 4, 'and then half a round trip')
    tt.ok(over <= lateUs.length / 200)
    const sum = (of: (joins: Joins) => number): number => all.reduce((total, joins) => total + of(joins), 0)
    tt.ok(sum(({ pair }) => pair.dropped) > JOINS && sum(({ happened }) => happened.reordered) > JOINS, 'there were faults')
    tt.ok(sum(({ happened }) => happened.early) > 0, 'SYNs met no mapping')
    tt.ok(sum(({ happened }) => happened.repeated) > 0, 'and were sent again')
    tt.ok(sum(({ happened }) => happened.datagrams) < 3 * lateUs.length, 'for less than three datagrams each')
  })
})

t.test('by a fresh mapping, without faults: at once', async (tt) => {
  await forSeeds(tt, [1], (rng) => {
    const joins = new Joins(rng, false)
    for (let i = 0; i < 20; i++) joins.join(RTT_US)
    tt.same(joins.lateUs, new Array(20).fill(0))
    tt.match(joins.happened, { reordered: 0, early: 0, tentative: 0, repeated: 0 })
    const each = joins.happened.datagrams / joins.lateUs.length
    tt.ok(each <= 2.5, `${each} datagrams each: for its mapping, for its end, and some PINGs`)
  })
})

t.test('many that join at once, again and again: two datagrams a round trip', async (tt) => {
  const pair = new NatPair()
  pair.client.onTimeout(0)
  pair.run(1 * S)
  pair.connect(1)
  const [id] = pair.paths.keys()
  const sent = pair.sentAt.length
  pair.use(id as number, 1)
  tt.equal(pair.sentAt.length, sent, 'what has just been asked is not asked again: the SYN follows its MAP')
  pair.run(100 * MS)
  pair.daemon.isRunning = false
  pair.connect(2)
  const [, other] = pair.paths.keys()
  const from = pair.sentAt.length
  for (let n = 0; n < 100; n++) {
    for (let i = 0; i < 10; i++) pair.use(other as number, 1)
    pair.run(1 * MS)
  }
  const hasty = pair.sentAt.length - from
  tt.ok(hasty >= 8 && hasty <= 2 * 5 + 3, `${hasty} datagrams in five round trips`)
})
