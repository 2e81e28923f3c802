import { PAGE_LEN } from '../../src/base/arena.js'

/**
 * The obviously correct twin of StreamQueue: one cell per byte of a window of the stream, a set of the pages that are held.
 */
export class NaiveStream {
  base: number
  capacity: number
  fin = -1
  private promised = 0
  private readonly origin: number
  private readonly cells: Int16Array
  private readonly pages = new Set<number>()
  private readonly pageCount: number

  constructor(origin: number, window: number, capacity: number, pageCount: number) {
    this.origin = origin
    this.base = origin
    this.capacity = capacity
    this.pageCount = pageCount
    this.cells = new Int16Array(window).fill(-1)
  }

  private at(off: number): number {
    return this.cells[off - this.origin] ?? -1
  }

  get readyEnd(): number {
    let end = this.base
    while (this.at(end) >= 0) end++
    return end
  }

  get heldEnd(): number {
    for (let i = this.cells.length; i > 0; i--) if ((this.cells[i - 1] as number) >= 0) return this.origin + i
    return this.base
  }

  get pagesHeld(): number {
    return this.pages.size
  }

  edge(): number {
    this.promised = Math.max(this.promised, this.base + this.capacity)
    return this.promised
  }

  insert(off: number, data: Uint8Array): number {
    const edge = this.edge()
    // Decided once per call, as the queue does: bytes that start in order may use the last pages.
    const reserve = Math.max(off, this.base) <= this.readyEnd ? 0 : this.pageCount >> 4
    for (let i = 0; i < data.length; i++) {
      const pos = off + i
      if (pos < this.base || (pos < edge && this.at(pos) >= 0)) continue
      if (pos >= edge || (this.fin >= 0 && pos >= this.fin)) return i
      const page = Math.floor(pos / PAGE_LEN)
      if (!this.pages.has(page)) {
        if (this.pageCount - this.pages.size <= reserve) return i
        this.pages.add(page)
      }
      this.cells[pos - this.origin] = data[i] as number
    }
    return data.length
  }

  setFin(off: number): boolean {
    if (this.fin >= 0) return this.fin === off
    if (off < Math.max(this.base, this.heldEnd)) return false
    this.fin = off
    return true
  }

  read(off: number, len: number): Uint8Array {
    return Uint8Array.from({ length: len }, (_, i) => this.at(off + i))
  }

  release(upTo: number): void {
    if (upTo <= this.base) return
    this.base = upTo
    const page = Math.floor(upTo / PAGE_LEN)
    for (const p of [...this.pages]) if (p < page) this.pages.delete(p)
    if (this.heldEnd <= upTo) this.pages.clear()
  }

  clear(): void {
    this.base = this.readyEnd
    this.pages.clear()
    this.cells.fill(-1, this.base - this.origin)
  }
}
