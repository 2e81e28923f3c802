import type { TxRing } from '../base/rings.js'
import type { Micros } from '../base/time.js'
import type { TcpEndpoint } from '../tcp/endpoint.js'
import type { Engine } from './engine.js'
import type { Owner, Port } from './owner.js'

/** An endpoint in TIME-WAIT whose connection has been forgotten: it answers retransmitted FINs until its time is over. */
export class Linger implements Owner {
  timer = -1
  isDirty = false
  readonly port: Port
  private readonly engine: Engine
  private readonly endpoint: TcpEndpoint

  constructor(engine: Engine, endpoint: TcpEndpoint, port: Port) {
    this.engine = engine
    this.endpoint = endpoint
    this.port = port
  }

  pump(tx: TxRing, now: Micros): boolean {
    const sent = this.endpoint.pollTransmit(tx, now)
    this.endpoint.takeEvents()
    if (this.endpoint.isDone) this.fail()
    return sent
  }

  nextTimeout(): Micros {
    return this.endpoint.nextTimeout()
  }

  onTimeout(now: Micros): void {
    this.endpoint.onTimeout(now)
  }

  /** Forgets the endpoint: its tuple is free again. */
  fail(): void {
    const flow = this.engine.find(this.endpoint.tuple)
    if (flow !== null && flow.endpoint === this.endpoint) this.engine.dismiss(this.endpoint)
    this.engine.removeOwner(this)
  }
}
