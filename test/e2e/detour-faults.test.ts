import t from 'tap'
import { Capture } from './lib/capture.js'
import {
  DAEMON_KILLED,
  FaultLab,
  hostUnreachable,
  INTERFACE_REMOVED,
  LTE,
  NAT,
  TABLE_FLUSHED,
  VPN,
  VPN_KILLED,
} from './lib/detour-faults.js'
import { JOIN_FILTER, joinLatencies, quantile } from './lib/join-latency.js'
import { curlDownload, PORT } from './lib/peers.js'
import { payloadSha256 } from './lib/payload.js'
import { ADDRESS } from './lib/lab.js'
import { assertCleanMptcp } from './lib/verdict.js'

const MBIT = 10
const LEN = 50_000_000
const FRESH = 12
const FRESH_LEN = 200_000

t.test('NAT, VPN and interface detours at once survive what can happen to each, in the middle of one transfer', async (t) => {
  const faults = await FaultLab.create(t, MBIT)
  const { lab } = faults

  await t.test('a join by a fresh mapping leaves with the packet that permits it', async (t) => {
    await lab.server.ip('route add local 203.0.113.128/25 dev lo')
    const capture = await Capture.start(lab, lab.client, lab.tun, JOIN_FILTER)
    for (let i = 0; i < FRESH; i++) {
      const { sha256 } = await curlDownload(lab.client, `203.0.113.${128 + i}`, PORT.http, lab.dir, FRESH_LEN)
      t.equal(sha256, payloadSha256(FRESH_LEN))
    }
    const found = await joinLatencies(capture, lab.client)
    t.equal(found.length, FRESH)
    const syns = found.flatMap(({ synMs }) => synMs ?? [])
    t.equal(syns.length, FRESH, 'each connection sent a join')
    t.ok(quantile(syns, 0.5) <= 5, 'at once', { syns }) // in a quiet minute 0.3 ms: the campaign join-latency measures
    t.comment(`first DSS to join SYN: p50 ${quantile(syns, 0.5).toFixed(2)} ms, max ${Math.max(...syns).toFixed(2)} ms`)
  })

  const all = [NAT, VPN, LTE]
  const download = curlDownload(lab.client, ADDRESS.server4, PORT.http, lab.dir, LEN)
  let isOver = false
  const end = (): void => {
    isOver = true
  }
  download.then(end, end)
  t.ok(await faults.carries(all, 5_000), 'all of them are in use')
  for (const fault of [DAEMON_KILLED, VPN_KILLED, INTERFACE_REMOVED, TABLE_FLUSHED, hostUnreachable(3)]) {
    t.ok(await fault.inject(faults), `the fault: ${fault.name}`)
    t.notOk(isOver, 'in the middle of the transfer')
    const since = performance.now()
    t.ok(await faults.carries(fault.paths, 12_000), `afterwards ${fault.paths.join(' and ')} carry bytes`)
    t.comment(`${fault.name}: ${Math.round(performance.now() - since)} ms until they do`)
  }
  const { sha256 } = await download
  t.equal(sha256, payloadSha256(LEN), 'byte-exact')
  await assertCleanMptcp(t, lab)
  const { codes, now, before } = await faults.end()
  t.same(codes, [0, 0])
  t.same(now, before, 'client and detour are as before')
})
