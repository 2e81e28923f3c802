import type { Owner } from './owner.js'

/** Owners that want to be pumped, first come first served; each stands in it at most once. */
export class DirtyRing {
  private slots: (Owner | null)[] = new Array<Owner | null>(64).fill(null)
  private head = 0
  count = 0

  push(owner: Owner): void {
    if (owner.isDirty) return
    owner.isDirty = true
    if (this.count === this.slots.length) this.grow()
    this.slots[(this.head + this.count) & (this.slots.length - 1)] = owner
    this.count++
  }

  shift(): Owner | null {
    if (this.count === 0) return null
    const owner = this.slots[this.head] as Owner
    this.slots[this.head] = null
    this.head = (this.head + 1) & (this.slots.length - 1)
    this.count--
    owner.isDirty = false
    return owner
  }

  private grow(): void {
    const old = this.slots
    this.slots = new Array<Owner | null>(2 * old.length).fill(null)
    for (let i = 0; i < this.count; i++) this.slots[i] = old[(this.head + i) & (old.length - 1)] as Owner
    this.head = 0
  }
}
