import { Rng } from '../../src/base/rng.js'
import { EngineWorld, type EngineWorldConfig } from './engine-world.js'
import type { FaultyPathConfig } from './faulty-path.js'
import { VirtualLoop } from './loop.js'
import { OPTION_MPTCP, OptionStripper } from './middlebox.js'
import type { Node } from './node.js'
import * as pk from './packet.js'
import type { PathPairConfig } from './paths.js'
import type { Watch } from './recording.js'
import { complaint, GREEDY, type Pace, type Paces } from './transfer.js'

/** Largest transfer, bytes. */
export const LEN_MAX = 4 << 20

/** What became of one random transfer. */
export interface RandomOutcome {
  readonly world: EngineWorld
  /** Empty when byte-exact and complete both ways, else why not. */
  readonly complaint: string
  readonly upLen: number
  readonly downLen: number
  readonly isMptcp: boolean
}

const FAULTS = ['loss', 'duplicate', 'corrupt'] as const

function pick<T>(rng: Rng, list: readonly T[]): T {
  return list[rng.below(list.length)] as T
}

/** One path in ten has a middlebox that strips MPTCP options from some segments: SYNs, all others, or all. */
function randomStripper(rng: Rng): Node[] {
  if (!rng.chance(0.1)) return []
  const which = rng.below(3)
  const isMeant = (p: Uint8Array): boolean => which === 2 || ((pk.flagsOf(p) & pk.SYN) !== 0) === (which === 0)
  return [new OptionStripper(new VirtualLoop(), OPTION_MPTCP, isMeant)]
}

function direction(rng: Rng, delayUs: number, certain: FaultyPathConfig['certain']): FaultyPathConfig {
  return {
    middle: randomStripper(rng),
    bitsPerSecond: rng.logUniform(1_000_000, 1_000_000_000),
    queuePackets: rng.logUniform(20, 1000),
    delayUs,
    loss: pick(rng, [0, 0.001, 0.01, 0.03]),
    reorder: pick(rng, [0, 0.002, 0.02]),
    duplicate: pick(rng, [0, 0.002, 0.02]),
    corrupt: pick(rng, [0, 0.001, 0.01]),
    ...(certain === undefined ? {} : { certain }),
  }
}

/** A path with random rates, delay, queues and faults; a certain fault hits one of the first two packets of one direction. */
function randomPath(rng: Rng, isFirst: boolean): PathPairConfig {
  const certain = { kind: pick(rng, FAULTS), index: rng.below(2) }
  const isUp = rng.chance(0.5)
  const delayUs = rng.logUniform(50, 100_000)
  return {
    up: direction(rng, delayUs, isFirst && isUp ? certain : undefined),
    down: direction(rng, delayUs, isFirst && !isUp ? certain : undefined),
  }
}

/** Mostly an application that takes what it gets at once; sometimes a slow one, but never so slow that virtual hours pass. */
function randomPace(rng: Rng, len: number): Pace {
  if (rng.chance(0.8)) return GREEDY
  return { chunk: Math.max(rng.logUniform(1, 100_000), Math.ceil(len / 1000)), pauseUs: rng.logUniform(10, 100_000) }
}

/**
 * One transfer through the engine, everything about it drawn from `seed`: sizes (log-uniform, 1 byte to 4 MiB, up, down or both at
 * once), one or two paths, IPv4 or IPv6, an MPTCP or a plain server, options, buffers, and faults, at least one of them certain.
 */
export function randomTransfer(seed: number, watch?: Watch): RandomOutcome {
  const rng = new Rng(seed)
  const paths = [randomPath(rng, true)]
  if (rng.chance(0.5)) paths.push(randomPath(rng, false))
  const gso = rng.chance(0.8)
  const config: EngineWorldConfig = {
    seed: rng.int32(),
    paths,
    server: rng.chance(0.75) ? 'mptcp' : 'tcp',
    isV6: rng.chance(0.3),
    tunMtu: pick(rng, [1500, 9000, 65_535]),
    gso,
    batchUs: pick(rng, [0, 0, 20, 500]),
    tcp: { timestamps: rng.chance(0.8), sack: rng.chance(0.9) },
    mptcp: { checksum: rng.chance(0.3) },
    engine: { sendBuffer: rng.logUniform(16_384, LEN_MAX), receiveBuffer: rng.logUniform(16_384, LEN_MAX) },
    serverHost: { gso: rng.chance(0.8), sendBuffer: rng.logUniform(4096, 1 << 20), receiveBuffer: rng.logUniform(8192, 1 << 20) },
    ...(watch === undefined ? {} : { watch }),
  }
  const len = rng.logUniform(1, LEN_MAX)
  const way = rng.below(3)
  const upLen = way === 0 ? 0 : len
  const downLen = way === 1 ? 0 : rng.chance(0.5) ? len : rng.logUniform(1, len)
  const paces: Paces = {
    client: { reading: randomPace(rng, downLen), writing: randomPace(rng, upLen) },
    server: { reading: randomPace(rng, upLen), writing: randomPace(rng, downLen) },
  }
  const world = new EngineWorld(config)
  const result = world.transfer(upLen, downLen, paces)
  return { world, complaint: complaint(result), upLen, downLen, isMptcp: world.engine.mptcpCounters.MPCapableSYNACKRX > 0 }
}
