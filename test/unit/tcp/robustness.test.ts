import t, { type Test } from 'tap'
import type { Rng } from '../../../src/base/rng.js'
import { NEVER } from '../../../src/base/time.js'
import type { TcpConfig } from '../../../src/tcp/config.js'
import * as st from '../../../src/tcp/state.js'
import { forSeeds } from '../../oracle/seeds.js'
import { Dialogue, MS, S } from './dialogue.js'
import { Pair, pattern } from './harness.js'

t.test('rfc9293 3.8.5: the urgent pointer is not used, and the stream stays whole', (t) => {
  const d = Dialogue.connected(t, { capacity: 1 << 20 })
  d.on('[PU.] 1+100 ack 1 urg 50')
  d.on('[U.] 101+100 ack 1 urg 65535')
  d.on('[U.] 201 ack 1 urg 1')
  d.on('[.] 201+100 ack 1 urg 7')
  d.wait(40 * MS, '+40 [.] 1 ack 301 win 65235')
  d.received(300)
  t.end()
})

t.test('rfc3168: reserved and ECN bits that nobody negotiated change nothing', (t) => {
  const d = Dialogue.connected(t)
  d.on('[EW.] 1+100 ack 1')
  d.wait(40 * MS, '+40 [.] 1 ack 101 win 65435')
  t.end()
})

/** An endpoint in each state, with data on the way in both directions where the state has any. */
const STATES: Record<string, (t: Test, cfg: Partial<TcpConfig>) => Dialogue> = {
  SYN_SENT: (t, cfg) => {
    const d = new Dialogue(t, { cfg })
    d.connect()
    d.take()
    return d
  },
  SYN_RECEIVED: (t, cfg) => {
    const d = new Dialogue(t, { cfg })
    d.hear('[S] 0 win 65535 mss 1000 sackOK TS 100 0 wscale 3')
    d.take()
    return d
  },
  SIMULTANEOUS: (t, cfg) => {
    const d = new Dialogue(t, { cfg })
    d.connect()
    d.take()
    d.hear('[S] 0 win 65535 mss 1000 sackOK TS 100 0')
    d.take()
    return d
  },
  ESTABLISHED: (t, cfg) => busy(established(t, cfg)),
  FIN_WAIT_1: (t, cfg) => ended(busy(established(t, cfg))),
  FIN_WAIT_2: (t, cfg) => after(ended(established(t, cfg)), '[.] 1 ack 2 win 1000 TS 100 1000'),
  CLOSE_WAIT: (t, cfg) => busy(after(established(t, cfg), '[F.] 1 ack 1 win 1000 TS 100 1000')),
  CLOSING: (t, cfg) => after(ended(established(t, cfg)), '[F.] 1 ack 1 win 1000 TS 100 1000'),
  LAST_ACK: (t, cfg) => ended(busy(after(established(t, cfg), '[F.] 1 ack 1 win 1000 TS 100 1000'))),
  TIME_WAIT: (t, cfg) => after(ended(established(t, cfg)), '[F.] 1 ack 2 win 1000 TS 100 1000'),
  CLOSED: (t, cfg) => after(established(t, cfg), '[R] 1'),
}

function established(t: Test, cfg: Partial<TcpConfig>): Dialogue {
  return Dialogue.connected(t, { cfg }, 'win 65535 mss 1000 sackOK TS 100 1000 wscale 3')
}

function after(d: Dialogue, text: string): Dialogue {
  d.hear(text)
  d.take()
  return d
}

function busy(d: Dialogue): Dialogue {
  d.write(5000)
  d.take()
  d.hear('[.] 201+100 ack 1 TS 100 1000')
  d.take()
  return d
}

function ended(d: Dialogue): Dialogue {
  d.end()
  d.take()
  return d
}

/** Near the numbers that matter, or anywhere. */
function number(rng: Rng, near: number[]): number {
  if (rng.chance(0.15)) return rng.int32()
  return (near[rng.below(near.length)] as number) + rng.between(-3, 3) * (rng.chance(0.5) ? 1 : 500)
}

function randomSegment(rng: Rng, d: Dialogue): string {
  const { ep } = d
  const letters = ['F', 'S', 'R', 'P', '.', 'U', 'E', 'W'].filter((c) => rng.chance(c === '.' ? 0.85 : c === 'P' ? 0.4 : 0.08)).join('')
  const seq = number(rng, [ep.rcvNxt, ep.rcv.edge, 0, 1])
  const len = rng.chance(0.5) ? 0 : rng.logUniform(1, 3000)
  let text = `[${letters}] ${seq}${len > 0 ? `+${len}` : ''} ack ${number(rng, [ep.sndUna, ep.sndNxt, 1])}`
  text += ` win ${rng.chance(0.2) ? 0 : rng.below(65_536)}`
  if (rng.chance(0.1)) text += ` urg ${rng.below(65_536)}`
  if (rng.chance(0.1)) text += ` gso ${rng.between(1, 1500)}`
  if (rng.chance(0.3))
    text += ` TS ${rng.chance(0.8) ? 100 + rng.between(-2, 5) : rng.int32()} ${rng.chance(0.5) ? d.now / MS : rng.int32()}`
  else if (letters.includes('S')) text += ` mss ${rng.below(65_536)} wscale ${rng.below(256)}`
  else if (rng.below(10) < 3) {
    text += ' sack'
    for (let n = rng.between(1, 3); n > 0; n--) text += ` ${number(rng, [ep.sndUna, ep.sndNxt])}:${number(rng, [ep.sndUna, ep.sndNxt])}`
  }
  return text
}

/** What must hold whatever arrives. */
function check(d: Dialogue): void {
  const { ep } = d
  const { snd, rcv } = ep
  const numbers = [
    snd.sndUna,
    snd.sndNxt,
    snd.sndEdge,
    rcv.rcvNxt,
    rcv.edge,
    ep.mss,
    ep.cwnd,
    ep.ssthresh,
    ep.srttUs,
    ep.rtoUs(),
    ep.sendSpace(),
  ]
  if (!numbers.every(Number.isFinite)) throw new Error(`not finite: ${numbers}`)
  if (snd.sndUna > snd.sndNxt) throw new Error(`una ${snd.sndUna} > nxt ${snd.sndNxt}`)
  if (ep.rtoUs() > d.side.cfg.rtoMaxUs || ep.rtoUs() < d.side.cfg.rtoMinUs) throw new Error(`RTO ${ep.rtoUs()}`)
  if (ep.nextTimeout() !== NEVER && ep.nextTimeout() > d.now + 61 * S + d.side.cfg.rtoMaxUs) throw new Error('a timer too far away')
  if (ep.mss < 24 || ep.mss > 1460) throw new Error(`mss ${ep.mss}`)
  const flight = snd.flight
  if (flight === null) return
  const inFlight = flight.end - flight.start
  if (flight.start !== snd.sndUna || flight.end !== snd.sndNxt) throw new Error('the scoreboard and the sequence space differ')
  for (const [what, n] of [
    ['sacked', flight.sacked],
    ['lost', flight.lost],
    ['retrans', flight.retrans],
    ['pipe', flight.pipe],
  ] as const) {
    if (n < 0 || n > inFlight) throw new Error(`${what} ${n} of ${inFlight} in flight`)
  }
}

t.test('random segments in every state: nothing throws, invariants hold, answers are bounded', async (t) => {
  const reached = new Set<number>()
  await forSeeds(t, [1, 2, 3], (rng) => {
    for (const [name, prepare] of Object.entries(STATES)) {
      for (let round = 0; round < 12; round++) {
        const cfg = {
          timestamps: rng.chance(0.5),
          gso: rng.chance(0.5),
          sack: rng.chance(0.8),
          nagle: rng.chance(0.2),
          pacing: rng.chance(0.5),
        }
        const d = prepare(t, cfg)
        let text = name
        try {
          for (let i = 0; i < 150; i++) {
            text = randomSegment(rng, d)
            d.hear(text)
            const said = d.side.poll(d.now).length
            if (said > 100) throw new Error(`${said} packets in answer`)
            check(d)
            reached.add(d.ep.state)
            if (rng.chance(0.1) && d.ep.canSend && d.side.out.finAt < 0)
              d.write(Math.min(rng.logUniform(1, 3000), d.side.out.edge() - d.side.out.readyEnd))
            if (rng.chance(0.01) && d.side.out.finAt < 0) d.end()
            if (rng.chance(0.3)) {
              d.now = Math.min(d.now + rng.logUniform(1, 2 * S), Math.max(d.now, d.ep.nextTimeout()))
              d.ep.onTimeout(d.now)
              d.side.poll(d.now)
              check(d)
            }
          }
        } catch (error) {
          throw new Error(`${name}, ${text}: ${error instanceof Error ? error.stack : error}`)
        }
      }
    }
  })
  for (let state = 0; state < st.STATE_NAMES.length; state++) t.ok(reached.has(state), `reached ${st.STATE_NAMES[state]}`)
  t.end()
})

t.test('an attacker who guesses nothing: a transfer survives a flood of blind segments', async (t) => {
  await forSeeds(t, [5], (rng) => {
    const p = Pair.of({ timeWaitUs: S, gso: false })
    const data = pattern(100_000)
    const blind = new Dialogue(t, { irs: rng.int32(), iss: rng.int32() })
    let forged = 0
    p.filter = (fromA) => {
      for (let i = 0; fromA && i < 50 && p.b.ep !== null; i++) {
        const seq = rng.int32()
        const off = seq - (p.b.ep.irs + p.b.ep.rcvNxt)
        if (Math.abs(off | 0) < 2_000_000) continue // it would have guessed the window
        // the endpoint does not look at addresses: the flow table did
        const bytes = blind.bytesOf(`[${['R', 'S', 'R.', '.', 'F.'][i % 5]}] ${(seq - blind.irs) | 0}+${i % 2} ack ${rng.int32()}`)
        p.b.deliver(bytes, p.now)
        forged++
      }
      return 0
    }
    p.a.connect(p.now)
    p.a.write(data)
    p.a.out.setFin(data.length)
    p.b.out.setFin(0)
    if (!p.run(1000 * S, () => p.a.ep?.state === st.CLOSED && p.b.ep?.state === st.CLOSED)) throw new Error('it does not end')
    t.ok(p.b.hasReceived(data))
    t.equal(p.b.ep?.cause, st.CAUSE_FIN)
    t.ok(forged > 500, `${forged} forged segments`)
  })
  t.end()
})

t.test('extremes: tiny MSS, tiny windows, tiny and huge buffers: transfers end byte-exact', (t) => {
  for (const [mss, capacity, windowScale] of [
    [64, 1, 0],
    [64, 100_000, 14],
    [1460, 1, 0],
    [1460, 2, 0],
    [1460, 536, 7],
    [1460, 1 << 22, 14],
    [9000, 65_535, 0],
  ] as const) {
    const p = Pair.of({ mss4: mss, windowScale, timeWaitUs: S, initialWindow: 1 }, capacity)
    const data = pattern(Math.min(20_000, 400 * Math.max(1, capacity)))
    p.a.out.capacity = 1 << 20
    p.a.connect(p.now)
    p.a.write(data)
    p.a.out.setFin(data.length)
    p.b.out.setFin(0)
    const ok = p.run(20_000 * S, () => p.a.ep?.state === st.CLOSED && p.b.ep?.state === st.CLOSED)
    t.ok(ok && p.b.hasReceived(data), `mss ${mss}, buffer ${capacity}, scale ${windowScale}: done at ${p.now / S} s`)
  }
  t.end()
})

t.test('a clock that jumps ahead by hours costs one retransmission, not a storm', (t) => {
  const d = Dialogue.connected(t, { rttUs: 50 * MS })
  d.write(20_000)
  d.take()
  d.now += 10_000 * S
  d.ep.onTimeout(d.now)
  t.ok(d.take().length <= 2)
  t.equal(d.ep.state, st.ESTABLISHED)
  t.end()
})

t.test('segments for a closed endpoint are stray, RSTs are not', (t) => {
  const d = after(Dialogue.connected(t), '[R] 1')
  t.equal(d.hear('[.] 1 ack 1'), false)
  t.equal(d.hear('[S] 1'), false)
  t.equal(d.hear('[R] 1'), true)
  d.expect()
  t.end()
})
t.end()
