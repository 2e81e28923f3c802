import { Rng } from '../../src/base/rng.js'
import { type Micros, US_PER_MS, US_PER_S } from '../../src/base/time.js'
import { SPARSE_ALWAYS, SPARSE_AUTO } from '../../src/mptcp/sparse.js'
import { CAUSE_TIMEOUT } from '../../src/tcp/state.js'
import { type Trouble, type Troubles, randomTrouble } from './adversary.js'
import type { FaultyPathConfig } from './faulty-path.js'
import type { MptcpSocket } from './mptcp-host.js'
import { MptcpPair, publicWord } from './mptcp-pair.js'
import type { Watch } from './recording.js'
import { complaint, GREEDY, type Pace, type Peer, type TransferResult } from './transfer.js'

/** Largest transfer, bytes. */
export const ADVERSARIAL_MAX = 256 << 10

/** A transfer that is not over after this hangs: a peer that is gone is given up after 15 timeouts. */
const LIMIT_US: Micros = 3600 * US_PER_S

export interface AdversarialOutcome {
  readonly pair: MptcpPair
  readonly result: TransferResult
  /** Empty when byte-exact and complete both ways, or failed as it must, with both sides told; else why not. */
  readonly complaint: string
  /** The connection ended by a reset, before all had arrived. */
  readonly hasFailed: boolean
  readonly bytes: number
  /** Adds what the middleboxes did. */
  readonly count: (sum: Troubles) => void
}

const pick = <T>(rng: Rng, list: readonly T[]): T => list[rng.below(list.length)] as T

function direction(rng: Rng, delayUs: Micros, certain: FaultyPathConfig['certain']): FaultyPathConfig {
  return {
    bitsPerSecond: rng.logUniform(1_000_000, 1_000_000_000),
    queuePackets: rng.logUniform(20, 1000),
    delayUs,
    loss: pick(rng, [0, 0.005, 0.05]),
    reorder: pick(rng, [0, 0.05]),
    duplicate: pick(rng, [0, 0.02]),
    corrupt: pick(rng, [0, 0.01]),
    ...(certain === undefined ? {} : { certain }),
  }
}

/** An application that does all at once, or in steps so slow that joins come up meanwhile, or with pauses in which NATs forget. */
function pace(rng: Rng, len: number): Pace {
  const kind = rng.below(20)
  if (kind < 10) return GREEDY
  if (kind === 19) return { chunk: Math.ceil(len / 4), pauseUs: rng.logUniform(1000, 20_000) * US_PER_MS }
  return { chunk: Math.max(rng.logUniform(1, 20_000), Math.ceil(len / 20)), pauseUs: rng.logUniform(1000, 200_000) }
}

/**
 * One connection over two paths between two MPTCP hosts, everything about it drawn from `seed`: sizes (log-uniform, 1 byte to 256 KB),
 * rates, delays, loss, order, repetitions, bit errors, and on each path up to three middleboxes and mishaps (`adversary.ts`).
 */
export function adversarialTransfer(seed: number, watch?: Watch): AdversarialOutcome {
  const rng = new Rng(seed)
  const stripping = rng.below(3) // path 0, path 1, none
  const troubles: Trouble[] = [0, 1].map((i) => randomTrouble(rng, stripping === i, publicWord(i)))
  const certain = { kind: pick(rng, ['loss', 'duplicate', 'corrupt'] as const), index: rng.below(3) }
  const isUp = rng.chance(0.5)
  const paths = troubles.map((trouble, i) => {
    const delayUs = rng.logUniform(50, 100_000)
    return {
      up: direction(rng, delayUs, i === 0 && isUp ? certain : undefined),
      down: direction(rng, delayUs, i === 0 && !isUp ? certain : undefined),
      boxes: trouble.boxes,
    }
  })
  const checksum = rng.chance(0.3)
  const side = () => ({
    pages: 96,
    slots: 6,
    gso: rng.chance(0.5),
    sendBuffer: rng.logUniform(4096, ADVERSARIAL_MAX / 2),
    receiveBuffer: rng.logUniform(8192, ADVERSARIAL_MAX),
    tcp: { timestamps: rng.chance(0.8), sack: rng.chance(0.9) },
    mptcp: { checksum, sparse: seed % 3 === 0 ? SPARSE_ALWAYS : SPARSE_AUTO },
  })
  const pair = new MptcpPair({ seed: rng.int32(), paths, client: side(), server: side(), ...(watch === undefined ? {} : { watch }) })
  const len = rng.logUniform(1, ADVERSARIAL_MAX)
  const way = rng.below(3)
  const upLen = way === 0 ? 0 : len
  const downLen = way === 1 ? 0 : rng.logUniform(1, len)
  const paces = {
    client: { reading: pace(rng, downLen), writing: pace(rng, upLen) },
    server: { reading: pace(rng, upLen), writing: pace(rng, downLen) },
  }
  const result = pair.transfer(upLen, downLen, paces, LIMIT_US)
  const wrong = complaint(result)
  const hasFailed = wrong !== '' && hasFailedCleanly(result) && mayFail(pair, troubles, result)
  return {
    pair,
    result,
    complaint: hasFailed ? '' : wrong,
    hasFailed,
    bytes: upLen + downLen,
    count: (sum) => {
      for (const trouble of troubles) trouble.count(sum)
    },
  }
}

/** Each side knows that it is over, or has nothing to say and cannot know; what came is a part of what was sent. */
function hasFailedCleanly({ local, remote }: TransferResult): boolean {
  return isTold(local) && (remote === null || isTold(remote))
}

function isTold(peer: Peer): boolean {
  const { out } = peer.socket as MptcpSocket
  return peer.wrongAt < 0 && (peer.isOver || out.readyEnd === out.base)
}

/**
 * All SYNs may be lost, seven in a row, which bursts of loss bring about once in ten thousand times, and all ACKs that answer a SYN/ACK: the
 * server gives up, and has never known the connection. A NAT that forgets ends a connection
 * which has but this path: it was not joined yet, or has fallen back. A joined one ends when each of its paths may lose a subflow. Where a
 * box takes the third ACKs of joins, only one side holds the connection for joined for a while, and a fallback finds it divided.
 */
function mayFail(pair: MptcpPair, troubles: readonly Trouble[], { remote }: TransferResult): boolean {
  if (!pair.socket.isOpen) return pair.socket.cause === CAUSE_TIMEOUT
  if (remote === null || !(remote.socket as MptcpSocket).isOpen) return true
  if (pair.client.counters.MPJoinSynAckRx > 0 && pair.server.counters.MPJoinAckRx === 0) return true
  if (!pair.socket.conn.isMptcp || pair.server.counters.MPJoinAckRx === 0) return troubles[0]?.isNat === true
  return troubles.every((trouble) => trouble.isUnreliable)
}
