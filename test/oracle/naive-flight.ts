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
  /** Before the receiver reneged. */
  wasSacked: boolean
}

/** The obviously correct twin of Flight: one cell per byte. */
export class NaiveFlight {
  start: number
  private cells: Cell[] = []
  /** RFC 8985 §5.3: sending instant, end and round trip of the latest-sent record that arrived. */
  private rackSentAt = -1
  private rackEnd = 0
  private rackRtt = 0

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
      this.cells.push({
        isSacked: false,
        isLost: false,
        isRetrans: false,
        isAmbiguous: false,
        sentAt: now,
        isStart: i === 0,
        wasSacked: false,
      })
    }
  }

  private split(at: number): void {
    const c = this.cells[at - this.start]
    if (c !== undefined) c.isStart = true
  }

  /** Bytes newly acknowledged, newly delivered; latest sending instants of what the ACK itself delivered. */
  ack(una: number, now = 0): { acked: number; delivered: number; sentAt: number; resentAt: number } {
    for (let at = this.start; at < una; at++) if (this.cells[at - this.start]?.isSacked === false) this.arrived(at, una, now)
    const gone = this.cells.splice(0, Math.max(0, una - this.start))
    this.start = Math.max(this.start, una)
    this.split(this.start)
    const fresh = gone.filter((c) => !c.isSacked)
    const clear = fresh.filter((c) => !c.isAmbiguous)
    return {
      acked: gone.length,
      delivered: fresh.length,
      sentAt: Math.max(-1, ...clear.map((c) => c.sentAt)),
      resentAt: Math.max(-1, ...fresh.filter((c) => c.isAmbiguous).map((c) => c.sentAt)),
    }
  }

  /** Bytes newly SACKed. */
  sack(left: number, right: number, now = 0): number {
    this.split(left)
    if (this.cells[right - 1 - this.start]?.isSacked === false) this.split(right)
    const fresh = this.cells.slice(left - this.start, right - this.start).filter((c) => !c.isSacked)
    for (let at = left; at < right; at++) if (this.cells[at - this.start]?.isSacked === false) this.arrived(at, right, now)
    for (const c of fresh) {
      c.isSacked = true
      c.isLost = false
      c.isRetrans = false
    }
    return fresh.length
  }

  /** End of the record of byte `at`, as far as `limit`. */
  private recordEnd(at: number, limit: number): number {
    let end = at + 1
    while (end < limit && this.cells[end - this.start]?.isStart === false) end++
    return end
  }

  private arrived(at: number, limit: number, now: number): void {
    const { sentAt } = this.cells[at - this.start] as Cell
    if (sentAt < 0) return
    const end = this.recordEnd(at, limit)
    if (sentAt < this.rackSentAt || (sentAt === this.rackSentAt && end <= this.rackEnd)) return
    this.rackSentAt = sentAt
    this.rackEnd = end
    this.rackRtt = now - sentAt
  }

  /** RFC 8985 §6.2 step 5, byte by byte: bytes newly lost, and how long the reordering timer has to wait. */
  detectByTime(window: number, now: number): { marked: number; wait: number } {
    let marked = 0
    let wait = 0
    if (this.rackSentAt < 0) return { marked, wait }
    this.cells.forEach((c, i) => {
      if (c.isSacked || (c.isLost && !c.isRetrans)) return
      const end = this.recordEnd(this.start + i, this.end)
      if (c.sentAt > this.rackSentAt || (c.sentAt === this.rackSentAt && end >= this.rackEnd)) return
      const left = c.sentAt + this.rackRtt + window - now
      if (left > 0) {
        wait = Math.max(wait, left)
        return
      }
      c.isLost = true
      c.isRetrans = false
      marked++
    })
    return { marked, wait }
  }

  unmarkLost(): void {
    for (const c of this.cells) {
      c.isLost = false
      c.isRetrans = false
    }
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
    this.cells.forEach((c, i) => {
      if (c.isSacked && reneged && this.cells[i - 1]?.wasSacked === true) c.isStart = false // what arrived once is one piece
      c.wasSacked = c.isSacked
    })
    for (const c of this.cells) {
      if (c.isSacked && !reneged) continue
      if (c.isSacked) {
        c.isAmbiguous = true
        c.sentAt = -1
      }
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
