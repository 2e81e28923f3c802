import type { Sink } from './node.js'
import * as pk from './packet.js'

/** Gives packets to the first route that matches: a switch between hosts, or a policy that picks the path by source address. */
export class Router {
  /** Packets that no route wanted. */
  unroutable = 0
  private readonly routes: { matches: (packet: Uint8Array) => boolean; sink: Sink }[] = []

  to(dst: number, sink: Sink): this {
    return this.when((packet) => pk.dstWord(packet) === (dst | 0), sink)
  }

  from(src: number, sink: Sink): this {
    return this.when((packet) => pk.srcWord(packet) === (src | 0), sink)
  }

  when(matches: (packet: Uint8Array) => boolean, sink: Sink): this {
    this.routes.push({ matches, sink })
    return this
  }

  readonly in: Sink = (packet) => {
    for (const route of this.routes) {
      if (route.matches(packet)) {
        route.sink(packet)
        return
      }
    }
    this.unroutable++
  }
}
