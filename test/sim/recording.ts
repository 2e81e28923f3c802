import { writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Direction, OUTBOUND, INBOUND, PcapngWriter } from '../../src/tun/pcapng-writer.js'
import type { Loop } from './loop.js'
import { Node } from './node.js'
import type { Sink } from './node.js'

/** Sees the packets of a simulated network where the client's and the server's devices give them out, before any fault. */
export type Watch = (packet: Uint8Array, isUp: boolean, loop: Loop) => void

/** A node that shows what passes to `watch`. */
export class Watched extends Node {
  private readonly watch: Watch
  private readonly isUp: boolean

  constructor(loop: Loop, watch: Watch, isUp: boolean) {
    super(loop)
    this.watch = watch
    this.isUp = isUp
  }

  protected accept(packet: Uint8Array): void {
    this.watch(packet, this.isUp, this.loop)
    this.out(packet)
  }
}

/** `sink` behind a watched place; `sink` itself when nobody watches. */
export function watched(loop: Loop, watch: Watch | undefined, isUp: boolean, sink: Sink): Sink {
  if (watch === undefined) return sink
  const node = new Watched(loop, watch, isUp)
  node.out = sink
  return node.in
}

/** Packets of a run as a pcapng file, in virtual time; the client's are outbound. */
export class Recording {
  private readonly blocks: Uint8Array[] = []
  private readonly writer = new PcapngWriter({ write: (block) => this.blocks.push(block.slice()) })

  readonly watch: Watch = (packet, isUp, loop) => {
    const direction: Direction = isUp ? OUTBOUND : INBOUND
    this.writer.packet(packet, 0, packet.length, direction, loop.now)
  }

  get packets(): number {
    return this.writer.packets
  }

  /** @returns the name of the file, in the directory for temporary files. */
  save(name: string): string {
    const file = join(tmpdir(), `${name}.pcapng`)
    writeFileSync(file, Buffer.concat(this.blocks))
    return file
  }
}

/**
 * Runs a failed random run again, from its seed, and records it: recording costs nothing while all is well.
 * @returns one line for the test's output, with the file's name.
 */
export function replay(name: string, seed: number, run: (seed: number, watch: Watch) => unknown): string {
  const recording = new Recording()
  try {
    run(seed, recording.watch)
  } catch {
    // it has failed before; what led to that is in the file
  }
  return `SEED=${seed}: ${recording.packets} packets in ${recording.save(`${name}-${seed}`)}`
}
