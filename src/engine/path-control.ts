import type { IpAddress } from '../base/address.js'
import { type Micros, NEVER } from '../base/time.js'
import { type MptcpConnection, OBSTACLE_DENIED } from '../mptcp/connection.js'
import { FB_NONE } from '../mptcp/fallback.js'
import { PHASE_OPEN, type Subflow } from '../mptcp/subflow.js'
import { isDerived, isPathFor, isSameEnd, type Path } from '../pathmgr/path.js'
import type { PathCommand, PathEvent, PathManager, PathView, SubflowStats } from '../pathmgr/path-manager.js'
import { RST_UNSPECIFIED } from '../wire/mptcp-options.js'
import * as st from '../tcp/state.js'
import { Ear } from './ear.js'
import type { Engine } from './engine.js'

/** Decisions that a connection remembers. */
const LOG_MAX = 32
/** A decision that is among the last of them is counted there: a path that is dead for long leaves room for others. */
const LOG_LOOK_BACK = 6
/** Rounds of events and commands in one step: a manager that always wants more is stopped. */
const ROUNDS_MAX = 16

const CAUSES: Readonly<Record<number, string>> = {
  [st.CAUSE_FIN]: 'closed by the server',
  [st.CAUSE_RESET]: 'reset by the server or on the way',
  [st.CAUSE_REFUSED]: 'the join was refused',
  [st.CAUSE_TIMEOUT]: 'no answer',
  [st.CAUSE_UNREACHABLE]: 'unreachable',
  [st.CAUSE_ABORTED]: 'reset by us',
}

/** One decision of a path manager, for people. */
export interface PathDecision {
  /** Since the connection began; of the last one, when it was taken again and again. */
  readonly atUs: Micros
  readonly what: string
  readonly times: number
}

/** A subflow as the manager was told last. */
interface Known {
  readonly s: Subflow
  /** The path that it was opened by, as it is now. */
  path: Path
  isUp: boolean
  isSilent: boolean
  isPeerBackup: boolean
  /** Its end would be a failure of the path. */
  isFault: boolean
  readonly ear: Ear
}

/**
 * Between one connection that was opened from here and its path manager: finds out what has happened, tells it in order, carries out what
 * it asks for. Called around each pump, so that a join leaves in the turn in which it became allowed.
 */
export class PathControl implements PathView {
  readonly remote: IpAddress
  readonly port: number
  private readonly engine: Engine
  private readonly conn: MptcpConnection
  private readonly since: Micros
  /** null: joins are not allowed yet. */
  private manager: PathManager | null = null
  private known: readonly Known[] = []
  private announced: readonly { readonly id: number; readonly address: IpAddress; readonly port: number }[] = []
  private wakeAt: Micros = NEVER
  /** When the subflows are to be listened to again. */
  private listenAt: Micros = NEVER
  private readonly events: PathEvent[] = []
  private log: readonly PathDecision[] = []
  /** Paths were asked for, and the answer has not turned out to be useless. */
  private isDemanded = false

  constructor(engine: Engine, conn: MptcpConnection, remote: IpAddress, port: number, now: Micros) {
    this.engine = engine
    this.conn = conn
    this.remote = remote
    this.port = port
    this.since = now
  }

  nextTimeout(): Micros {
    return Math.min(this.wakeAt, this.listenAt)
  }

  /** Looks what has happened and lets the manager act. Cheap when nothing has. */
  step(now: Micros): void {
    const { conn } = this
    if (this.manager === null && !this.start(now)) return
    if (conn.isClosed || conn.isClosing) {
      this.close()
      return
    }
    this.listenAt = NEVER
    for (const one of this.known) if (one.isUp) this.listenAt = Math.min(this.listenAt, one.ear.check(one.s, now))
    this.look()
    if (this.events.length > 0 || now >= this.wakeAt) this.run(now)
  }

  /** A path is there or has changed. False: it does not concern this connection. */
  onPath(path: Path, now: Micros): boolean {
    if (this.manager === null) return false
    const isServing = isPathFor(path, this.remote, this.port)
    const isUsed = this.settlePath(path, isServing, now)
    if (!isServing && !isUsed) return false
    this.events.push({ kind: isServing ? 'path-up' : 'path-down', path })
    this.look()
    this.run(now)
    return true
  }

  /** A path is gone: so are its subflows; the peer is told when no other one has its address. */
  onPathGone(path: Path, now: Micros): void {
    for (const known of this.known.filter((one) => isDerived(one.path.id, path.id) && one.s.isLive)) {
      const { s } = known
      const id = s.localAddrId
      s.reset(RST_UNSPECIFIED)
      this.note(`${path.label} is gone`, now)
      const isShared = this.conn.subflows.some((o) => o !== s && o.isLive && o.localAddrId === id)
      if (id !== 0 && !isShared) this.conn.withdraw(id)
    }
    if (this.manager === null) return
    this.events.push({ kind: 'path-down', path })
    this.look()
    this.run(now)
  }

  /** Sends the SYNs of joins by a path again that are not answered yet. @returns whether there are any */
  repeatJoins(id: number, now: Micros): boolean {
    let isAny = false
    for (const { path, isUp, s } of this.known) {
      if (path.id !== id || isUp) continue
      s.ep.repeatSyn(now)
      isAny = true
    }
    return isAny
  }

  /** The connection is about to be forgotten: its subflows use no path any more. */
  close(): void {
    this.loseAll()
    this.wakeAt = NEVER
    this.listenAt = NEVER
  }

  /** Why it is carried as it is. */
  get decisions(): readonly PathDecision[] {
    return this.log
  }

  /** For people: why there is no subflow by `path` at the moment; null: there is one. */
  reason(path: Path, now: Micros): string | null {
    if (this.known.some((one) => one.path.id === path.id && one.isUp && !one.isSilent)) return null
    if (!isPathFor(path, this.remote, this.port)) return 'for other destinations'
    if (this.conn.isClosed || this.conn.isClosing) return 'the connection ends'
    if (this.manager === null) return this.conn.isMptcp ? 'joins are not allowed yet' : 'the connection is no MPTCP connection'
    return this.manager.reason(path, now)
  }

  stats(subflow: number, out: SubflowStats): boolean {
    const s = this.known.find((one) => one.s.id === subflow)?.s
    if (s === undefined || !s.isLive) return false
    const { ep } = s
    out.bytes = ep.bytesAcked + ep.bytesReceived
    out.srttUs = ep.srttUs
    out.segsOut = ep.segsOut
    out.retransSegs = ep.retransSegs
    return true
  }

  // ---------------------------------------------------------------- what has happened

  private start(now: Micros): boolean {
    const { conn, engine } = this
    const first = conn.subflows[0]
    if (first === undefined || !conn.isMptcp || !conn.isFullyEstablished || conn.isClosed) return false
    this.manager = engine.config.pathManager(this, engine.config.pathLimits)
    const path = engine.paths.find(first.path.id) ?? first.path
    this.known = [{ s: first, path, isUp: true, isSilent: false, isPeerBackup: first.isPeerBackup, isFault: true, ear: new Ear() }]
    engine.paths.onUse(path, 1)
    this.events.push({ kind: 'established', subflow: first.id, path, paths: engine.paths.serving(this.remote, this.port) })
    this.run(now)
    return true
  }

  /** Events from the difference between the connection and what is known of it. */
  private look(): void {
    const { known, events, conn } = this
    for (let i = known.length - 1; i >= 0; i--) {
      const one = known[i] as Known
      const { s } = one
      if (!s.isLive || s.ep.state === st.CLOSED) {
        this.known = this.known.filter((o) => o !== one)
        this.engine.paths.onUse(one.path, -1)
        events.push({ kind: 'subflow-down', subflow: s.id, why: CAUSES[s.ep.cause] ?? 'ended', isFault: one.isFault })
        continue
      }
      if (!one.isUp && s.phase === PHASE_OPEN) {
        one.isUp = true
        events.push({ kind: 'subflow-up', subflow: s.id })
      }
      const isSilent = s.stale !== null || one.ear.isDeaf
      if (one.isSilent !== isSilent) {
        one.isSilent = isSilent
        events.push({ kind: isSilent ? 'subflow-silent' : 'subflow-back', subflow: s.id })
      }
      if (one.isPeerBackup !== s.isPeerBackup) {
        one.isPeerBackup = s.isPeerBackup
        events.push({ kind: 'priority', subflow: s.id, isBackup: s.isPeerBackup })
      }
    }
    if (conn.addresses !== null) this.lookAtAddresses(conn.addresses.peer)
  }

  private lookAtAddresses(peer: readonly { readonly id: number; readonly address: IpAddress; readonly port: number }[]): void {
    const before = this.announced
    let isSame = before.length === peer.length
    for (let i = 0; i < peer.length && isSame; i++) isSame = before[i] === peer[i]
    if (isSame) return
    for (const a of before) if (!peer.includes(a)) this.events.push({ kind: 'withdrawn', id: a.id })
    for (const a of peer) {
      if (!before.includes(a)) this.events.push({ kind: 'announced', id: a.id, address: a.address, port: a.port })
    }
    this.announced = [...peer]
  }

  /**
   * What a change of a path means for the subflows by it, whatever the manager thinks. @param isServing whether the connection may use it
   * now. True: there are such subflows.
   */
  private settlePath(path: Path, isServing: boolean, now: Micros): boolean {
    let isUsed = false
    for (const one of this.known) {
      if (one.path.id !== path.id) continue
      isUsed = true
      const old = one.path
      one.path = path
      if (!isServing || !isSameEnd(old, path)) {
        one.isFault = false
        one.s.reset(RST_UNSPECIFIED) // of a SYN that waits for its answer nothing is sent
        this.note(`${path.label} has changed`, now)
        continue
      }
      if (old.isTentative && !path.isTentative) one.s.ep.repeatSyn(now)
      if (old.isBackup !== path.isBackup) this.conn.setBackup(one.s, path.isBackup, now)
    }
    return isUsed
  }

  private loseAll(): void {
    for (const one of this.known) this.engine.paths.onUse(one.path, -1)
    this.known = []
  }

  // ---------------------------------------------------------------- what is done

  private run(now: Micros): void {
    const { manager, events } = this
    if (manager === null) return
    const commands: PathCommand[] = []
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const event = events.shift() ?? null
      if (event === null && round > 0) {
        events.length = 0 // gives its memory back
        return
      }
      this.wakeAt = manager.handle(event, now, commands)
      for (const command of commands) this.execute(command, now)
      commands.length = 0
    }
    this.wakeAt = now
  }

  private execute(command: PathCommand, now: Micros): void {
    const { conn } = this
    switch (command.kind) {
      case 'open':
        this.open(command.path, command.why, now)
        return
      case 'close': {
        const s = conn.subflows.find((o) => o.id === command.subflow)
        if (s === undefined || !s.isLive) return
        this.note(`close ${s.path.label}: ${command.why}`, now)
        for (const one of this.known) if (one.s === s) one.isFault = !one.isUp || one.isSilent
        s.reset(RST_UNSPECIFIED)
        this.look()
        return
      }
      case 'set-backup': {
        const s = conn.subflows.find((o) => o.id === command.subflow)
        if (s === undefined) return
        this.note(`${s.path.label} is ${command.isBackup ? 'now' : 'no longer'} backup`, now)
        conn.setBackup(s, command.isBackup, now)
        return
      }
      case 'announce':
        conn.announce(command.id, command.address, command.port)
        return
      case 'withdraw':
        conn.withdraw(command.id)
    }
  }

  private open(path: Path, why: string, now: Micros): void {
    const s = this.conn.openSubflow(path, now)
    if (typeof s === 'string') {
      this.note(`no subflow by ${path.label}: ${s}`, now)
      this.events.push({ kind: 'refused', path, why: s, isFinal: s === OBSTACLE_DENIED })
      return
    }
    this.note(`open ${path.label}: ${why}`, now)
    this.known = this.known.concat({ s, path, isUp: false, isSilent: false, isPeerBackup: false, isFault: true, ear: new Ear() })
    this.engine.paths.onUse(path, 1)
    this.events.push({ kind: 'opened', subflow: s.id, path })
  }

  private note(what: string, now: Micros): void {
    const log = [...this.log]
    let times = 1
    for (let i = log.length - 1; i >= Math.max(0, log.length - LOG_LOOK_BACK); i--) {
      const one = log[i] as PathDecision
      if (one.what !== what) continue
      times += one.times
      log.splice(i, 1)
      break
    }
    if (log.length === LOG_MAX) log.shift()
    this.log = log.concat({ atUs: now - this.since, what, times }) // no larger than it must be, as `known`: most connections are idle
  }

  /** The first SYN is about to leave: whoever provides paths learns it, unless there is no MP_CAPABLE on it. */
  tellConnect(): void {
    if (this.conn.fallbackReason !== FB_NONE) return
    this.isDemanded = true
    this.engine.paths.demand?.onConnect(this.remote, this.port)
  }

  /** Whoever was asked for paths learns once that this destination has no use for them. */
  tellPlain(): void {
    if (!this.isDemanded) return
    this.isDemanded = false
    this.engine.paths.demand?.onPlain(this.remote, this.port)
  }
}
