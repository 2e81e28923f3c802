import { Capture } from '../test/e2e/lib/capture.js'
import { iperf } from '../test/e2e/lib/iperf.js'
import { ADDRESS, type Lab } from '../test/e2e/lib/lab.js'

/** Data packets of one leg, in the direction of the data. */
export interface Leg {
  readonly name: string
  readonly packets: number
  readonly packetsPerSecond: number
  /** Mean TCP payload, bytes. */
  readonly meanLen: number
}

const APPLICATION = '198.18.0.1'
const SECONDS = 2

/** Runs a stream of 2 s and captures the TUN: how large the packets that carry data are, on the application's leg and on the network's. */
export async function superSegments(lab: Lab, tun: string, direction: 'up' | 'down'): Promise<Leg[]> {
  const capture = await Capture.start(lab, lab.client, tun, 'tcp', 120)
  await iperf(lab.client, ADDRESS.server4, direction, SECONDS)
  const legs = new Map<string, { packets: number; bytes: number }>()
  for (const line of await capture.stop(lab.client)) {
    const match = /IP (\S+)\.\d+ > (\S+)\.\d+: .*length (\d+)/.exec(line)
    const [, source, destination] = match ?? []
    const len = Number(match?.[3] ?? 0)
    const isData = direction === 'up' ? destination === ADDRESS.server4 : source === ADDRESS.server4
    if (!isData || len === 0) continue
    const near = direction === 'up' ? source : destination
    const name = near === APPLICATION ? 'application leg' : 'network leg'
    const leg = legs.get(name) ?? { packets: 0, bytes: 0 }
    leg.packets++
    leg.bytes += len
    legs.set(name, leg)
  }
  return [...legs].map(([name, { packets, bytes }]) => ({
    name,
    packets,
    packetsPerSecond: packets / SECONDS,
    meanLen: bytes / packets,
  }))
}
