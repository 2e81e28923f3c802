import type { IpAddress, Tuple } from '../../../src/base/address.js'
import { IpAddress as Address } from '../../../src/base/address.js'
import type { Micros } from '../../../src/base/time.js'
import { parseAddress } from '../../../src/config/address-text.js'
import type { MptcpConnection } from '../../../src/mptcp/connection.js'
import { path } from '../../../src/pathmgr/path.js'

/** An address as `ip mptcp endpoint add` describes it. */
interface Endpoint {
  readonly id: number
  readonly address: IpAddress
  readonly port: number
  /** Announced to the peer, used for subflows of ours, and these are backups. */
  readonly isSignal: boolean
  readonly isSubflow: boolean
  readonly isBackup: boolean
}

/** What was done for one connection. */
interface Done {
  readonly announced: Set<number>
  readonly opened: Set<number>
  /** Subflows opened because the peer announced an address. */
  accepted: number
}

/** Linux's path manager in the kernel, as far as scripts use it: endpoints and limits of `ip mptcp`, applied to each connection. */
export class ScriptPaths {
  private readonly local: IpAddress
  private endpoints: Endpoint[] = []
  /** As Linux: announced addresses that lead to subflows, and subflows besides the first. */
  private addAddrAccepted = 0
  private subflows = 2
  private readonly done = new WeakMap<MptcpConnection, Done>()

  /** @param local address of the stack under test */
  constructor(local: IpAddress) {
    this.local = local
  }

  /** Takes an `ip mptcp` command. False: it is something else. */
  command(text: string): boolean {
    const [program, object, what = '', verb = '', ...words] = text.split(/\s+/)
    if (program !== 'ip' || object !== 'mptcp') return false
    if (/^limits?$/.test(what) && verb === 'set') return this.limits(words)
    if (!/^endpoints?$/.test(what)) return false
    if (verb === 'flush') this.endpoints = []
    else if (verb === 'add') this.add(words)
    else if (/^del(?:ete)?$/.test(verb)) this.endpoints = this.endpoints.filter((e) => e.id !== Number(wordAfter(words, 'id')))
    else return false
    return true
  }

  private limits(words: readonly string[]): boolean {
    const number = (name: string, otherwise: number): number => Number(wordAfter(words, name) ?? otherwise)
    this.addAddrAccepted = number('add_addr_accepted', this.addAddrAccepted)
    this.subflows = number('subflows', this.subflows)
    return true
  }

  private add(words: readonly string[]): void {
    const [text = ''] = words
    // an address that the shell computes is the one behind ours
    const address = text.startsWith('$') ? new Address(this.local.w0, this.local.w1, this.local.w2, this.local.w3 + 1) : parseAddress(text)
    const free = this.endpoints.reduce((id, e) => Math.max(id, e.id + 1), 1)
    this.endpoints.push({
      id: Number(wordAfter(words, 'id') ?? free),
      address,
      port: Number(wordAfter(words, 'port') ?? 0),
      isSignal: words.includes('signal'),
      isSubflow: words.includes('subflow') || words.includes('fullmesh'),
      isBackup: words.includes('backup'),
    })
  }

  /** Id of the endpoint with that address; -1: there is none. */
  idOf(address: IpAddress): number {
    return this.endpoints.find((e) => e.address.equals(address))?.id ?? -1
  }

  /** Does for `c` what is due; before each of its turns. */
  look(c: MptcpConnection, now: Micros): void {
    const first = c.firstTuple
    if (first === null || !c.isMptcp || !c.isFullyEstablished || c.isClosed) return
    const done = this.doneFor(c)
    for (const e of this.endpoints) {
      if (e.isSignal && !done.announced.has(e.id) && !e.address.equals(first.local) && c.announce(e.id, e.address, e.port))
        done.announced.add(e.id)
      if (e.isSubflow && c.subflows[0]?.isActive === true && !done.opened.has(e.id)) this.open(c, done, e, first, now)
    }
    for (const id of done.announced) if (!this.endpoints.some((e) => e.id === id)) this.withdraw(c, done, id)
    if (this.addAddrAccepted === 0 || c.addresses === null) return
    for (const { address, port } of c.addresses.takeFresh()) {
      if (done.accepted >= this.addAddrAccepted || c.subflows.length > this.subflows) break
      c.openSubflow(path({ label: 'announced', destination: address, destinationPort: port }), now)
      done.accepted++
    }
  }

  private open(c: MptcpConnection, done: Done, e: Endpoint, first: Tuple, now: Micros): void {
    if (e.address.equals(first.local) || c.subflows.length > this.subflows) return
    done.opened.add(e.id)
    c.openSubflow(path({ id: e.id, label: 'endpoint', source: e.address, isBackup: e.isBackup }), now)
  }

  private withdraw(c: MptcpConnection, done: Done, id: number): void {
    done.announced.delete(id)
    c.withdraw(id)
    for (const s of c.subflows) if (s.localAddrId === id) c.closeSubflow(s)
  }

  private doneFor(c: MptcpConnection): Done {
    let done = this.done.get(c)
    if (done === undefined) {
      done = { announced: new Set(), opened: new Set(), accepted: 0 }
      this.done.set(c, done)
    }
    return done
  }
}

/** The word behind `name`. */
function wordAfter(words: readonly string[], name: string): string | undefined {
  const at = words.indexOf(name)
  return at < 0 ? undefined : words[at + 1]
}
