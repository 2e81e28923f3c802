import type { MemoryBudget } from '../base/memory-budget.js'
import { StreamQueue } from '../base/stream-queue.js'
import { type Micros, US_PER_MS } from '../base/time.js'
import type { MptcpConnection } from '../mptcp/connection.js'
import type { Engine } from './engine.js'

/** Capacity that every queue begins with, and what it begins with while memory is tight. */
const BASE = 256 << 10
const BASE_TIGHT = 64 << 10
/** Round trips below this are measured by this: on a fast path a turn takes about as long. */
const SPAN_MIN_US = US_PER_MS

/**
 * Grows a queue with what its connection moves in a round trip (receive window and send buffer autotuning, as Linux's tcp_rmem and
 * tcp_wmem): a queue that was turned over by more than half within one round trip may be what limits the transfer, and doubles, up to
 * `max` and as far as the stack's memory budget goes. So does one that is full because a gap is not closed.
 */
class QueueTuner {
  private readonly queue: StreamQueue
  private readonly budget: MemoryBudget
  private readonly max: number
  private since: Micros = 0
  private from = 0

  /** Sets the first capacity of `queue`. @param max bytes, from the configuration. */
  constructor(queue: StreamQueue, budget: MemoryBudget, max: number) {
    this.queue = queue
    this.budget = budget
    this.max = max
    queue.capacity = Math.min(max, budget.isTight ? BASE_TIGHT : BASE)
    budget.take(queue.capacity)
  }

  /** Looks at the queue; cheap, to be called at every pump. @param rttUs round trip of the path, 0: not known. */
  update(rttUs: Micros, now: Micros): void {
    const span = Math.max(rttUs, SPAN_MIN_US)
    if (now - this.since < span) return
    const queue = this.queue
    const moved = queue.base - this.from
    const isBusy = now - this.since < 4 * span // after a pause the first look only starts a new span
    this.since = now
    this.from = queue.base
    if (queue.capacity >= this.max || !((isBusy && moved * 2 > queue.capacity) || isHeldUp(queue))) return
    queue.capacity += this.budget.ask(Math.min(queue.capacity, this.max - queue.capacity))
  }

  /** The connection is over. */
  close(): void {
    this.budget.giveBack(this.queue.capacity)
  }
}

/** The queue is full of what came early by a faster path: with more room that path goes on while the slower one repairs its losses. */
function isHeldUp(queue: StreamQueue): boolean {
  const { sparse } = queue
  return sparse !== null && (sparse.endAt(sparse.count - 1) - queue.base) * 4 > queue.capacity * 3
}

/** The two queues of one connection, with their autotuning. */
export class TunedQueues {
  /** Towards the server. */
  readonly up: StreamQueue
  /** From the server. */
  readonly down: StreamQueue
  private readonly upTuner: QueueTuner
  private readonly downTuner: QueueTuner

  constructor(engine: Engine) {
    this.up = new StreamQueue(engine.arena, 0)
    this.down = new StreamQueue(engine.arena, 0)
    this.upTuner = new QueueTuner(this.up, engine.budget, engine.config.sendBuffer)
    this.downTuner = new QueueTuner(this.down, engine.budget, engine.config.receiveBuffer)
  }

  /** To be called at every pump. */
  update(conn: MptcpConnection, now: Micros): void {
    let rtt = 0
    for (let i = 0; i < conn.subflows.length; i++) rtt = Math.max(rtt, conn.subflows[i]?.ep.srttUs ?? 0)
    this.upTuner.update(rtt, now)
    this.downTuner.update(rtt, now)
  }

  /** The connection is over: pages and promises go back. */
  close(): void {
    this.upTuner.close()
    this.downTuner.close()
    this.up.clear()
    this.down.clear()
  }
}
