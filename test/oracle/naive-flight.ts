/** What is known about one byte in flight. */
interface Cell {
  isSacked: boolean
  isLost: boolean
  /** Its retransmission is in the network. */
  isRetrans: boolean
  /** Was sent more than once. */
  isAmbiguous: boolean
  sentAt: number
  /** A record begins here: the one thing about the partition that shows, since only the oldest record is marked lost at once. */
  isStart: boolean
}

/** The obviously correct twin of Flight: one cell per byte. */
export class NaiveFlight {
  start: number
  private cells: Cell[] = []
  private lastArrivalSentAt = -1

  constructor(start: number) {
    this.start = start
  }

  get end(): number {
    return this.start + this.cells.length
  }

  private count(has: (c: Cell) => boolean): number {
    return this.cells.filter(has).length
  }

  get sacked(): number {
    return this.count((c) => c.isSacked)
  }
  get lost(): number {
    return this.count((c) => c.isLost)
  }
  get retrans(): number {
    return this.count((c) => c.isRetrans)
  }
  get pipe(): number {
    return this.count((c) => !c.isSacked && !c.isLost) + this.retrans
  }

  push(len: number, now: number): void {
    for (let i = 0; i < len; i++) {
      this.cells.push({ isSacked: false, isLost: false, isRetrans: false, isAmbiguous: false, sentAt: now, isStart: i === 0 })
    }
  }

  private split(at: number): void {
    const c = this.cells[at - this.start]
    if (c !== undefined) c.isStart = true
  }

  /** Bytes newly acknowledged, newly delivered; latest sending instants of what the ACK itself delivered. */
  ack(una: number): { acked: number; delivered: number; sentAt: number; resentAt: number } {
    const gone = this.cells.splice(0, Math.max(0, una - this.start))
    this.start = Math.max(this.start, una)
    this.split(this.start)
    const fresh = gone.filter((c) => !c.isSacked)
    const clear = fresh.filter((c) => !c.isAmbiguous)
    for (const c of clear) this.lastArrivalSentAt = Math.max(this.lastArrivalSentAt, c.sentAt)
    return {
      acked: gone.length,
      delivered: fresh.length,
      sentAt: Math.max(-1, ...clear.map((c) => c.sentAt)),
      resentAt: Math.max(-1, ...fresh.filter((c) => c.isAmbiguous).map((c) => c.sentAt)),
    }
  }

  /** Bytes newly SACKed. */
  sack(left: number, right: number): number {
    this.split(left)
    if (this.cells[right - 1 - this.start]?.isSacked === false) this.split(right)
    const fresh = this.cells.slice(left - this.start, right - this.start).filter((c) => !c.isSacked)
    for (const c of fresh) {
      if (!c.isAmbiguous) this.lastArrivalSentAt = Math.max(this.lastArrivalSentAt, c.sentAt)
      c.isSacked = true
      c.isLost = false
      c.isRetrans = false
    }
    return fresh.length
  }

  noteArrival(sentAt: number): void {
    this.lastArrivalSentAt = Math.max(this.lastArrivalSentAt, sentAt)
  }

  /**
   * RFC 6675 §4 by bytes: lost is what has more than `threshold` SACKed bytes above it. And what was retransmitted more than `reorder`
   * before something that arrived, and has SACKed bytes above it, was lost again. Returns the bytes newly marked.
   */
  detectLoss(threshold: number, reorder: number): number {
    let marked = 0
    let above = this.sacked
    for (const c of this.cells) {
      if (c.isSacked) above--
      if (c.isSacked || above === 0) continue
      if (!c.isLost && above > threshold) {
        c.isLost = true
        marked++
      } else if (c.isLost && c.isRetrans && c.sentAt + reorder < this.lastArrivalSentAt) {
        c.isRetrans = false
        marked++
      }
    }
    return marked
  }

  /** The oldest record, at most `len` bytes of it. */
  markHeadLost(len: number): void {
    const head = this.cells[0]
    if (head === undefined || head.isSacked) return
    let n = 1
    while (n < len && this.cells[n]?.isStart === false) n++
    this.split(this.start + n)
    for (const c of this.cells.slice(0, n)) {
      c.isLost = true
      c.isRetrans = false
    }
  }

  markAllLost(): void {
    const reneged = this.cells[0]?.isSacked === true
    for (const c of this.cells) {
      if (c.isSacked && !reneged) continue
      c.isSacked = false
      c.isLost = true
      c.isRetrans = false
    }
  }

  nextLost(): number {
    const i = this.cells.findIndex((c) => c.isLost && !c.isRetrans)
    return i < 0 ? -1 : this.start + i
  }

  lostLen(at: number, max: number): number {
    let n = 0
    while (n < max && this.cells[at - this.start + n]?.isLost === true && this.cells[at - this.start + n]?.isRetrans === false) n++
    return n
  }

  retransmitted(at: number, len: number, now: number): void {
    this.split(at)
    this.split(at + len)
    for (const c of this.cells.slice(at - this.start, at - this.start + len)) {
      c.isRetrans = true
      c.isAmbiguous = true
      c.sentAt = now
    }
  }
}
