/**
 * What the engine counts, under the names of Linux (`nstat`) where Linux has the counter, else with the prefix Engine.
 * One per drop and per decision; monotonic, all start at 0.
 */
export class EngineCounters {
  IpInReceives = 0
  IpOutRequests = 0
  /** Header truncated, of a wrong version, or with a wrong IPv4 checksum. */
  IpInHdrErrors = 0
  /** Wrong TCP or ICMP checksum. */
  TcpInCsumErrors = 0
  /** Fragments; TCP sets DF and Deviation: none are reassembled. */
  EngineDropFragment = 0
  /** Neither TCP, UDP nor echo. */
  EngineDropOtherProtocol = 0
  /** What is no TCP and was passed on: towards the network, back, ICMP errors about it. */
  EnginePassOut = 0
  EnginePassIn = 0
  EnginePassErrors = 0
  /** ... and what was not: answers to nothing, no room for a flow. */
  EngineDropPassUnknown = 0
  EngineDropPassOverflow = 0
  /** Impossible source or destination. */
  EngineDropMartian = 0
  /** The stack's own packets, come back. */
  EngineDropLoop = 0
  /** An answer without connection (RST, ICMP) found the ring full. */
  EngineDropReplyFull = 0
  TcpInSegs = 0
  /** Segments of connections that ended; `snapshot` adds those of live ones. */
  TcpOutSegs = 0
  TcpRetransSegs = 0
  /** RSTs that answer segments of no connection. */
  TcpOutRsts = 0
  /** Flows opened towards servers. */
  TcpActiveOpens = 0
  /** Applications' connects answered. */
  TcpPassiveOpens = 0
  TcpAttemptFails = 0
  TcpEstabResets = 0
  IcmpInMsgs = 0
  IcmpInDestUnreachs = 0
  /** Errors that quote no flow of ours. */
  EngineIcmpUnknownFlow = 0
  IcmpOutDestUnreachs = 0
  /** TIME-WAIT: over, given up for a new one, succeeded by the peer's SYN (RFC 6191), by our own. */
  TcpExtTW = 0
  TcpExtTCPTimeWaitOverflow = 0
  TcpExtTCPTimeWaitReused = 0
  TcpExtTWRecycled = 0
  /** SYNs for listeners that were dropped: too many half-open connections, too many connections. */
  TcpExtListenOverflows = 0
  TcpExtListenDrops = 0
  /** SYN cookies (RFC 4987): sent, brought back, brought back wrong or too late. */
  TcpExtTCPReqQFullDoCookies = 0
  /** The server took data from our SYN (RFC 7413); did not, although it had given a cookie. */
  TcpExtTCPFastOpenActive = 0
  TcpExtTCPFastOpenActiveFail = 0
  /** As a server: data of SYNs taken, by the previous key; cookie wrong; over the limit; cookies asked for. */
  TcpExtTCPFastOpenPassive = 0
  TcpExtTCPFastOpenPassiveAltKey = 0
  TcpExtTCPFastOpenPassiveFail = 0
  TcpExtTCPFastOpenListenOverflow = 0
  TcpExtTCPFastOpenCookieReqd = 0
  TcpExtSyncookiesSent = 0
  TcpExtSyncookiesRecv = 0
  TcpExtSyncookiesFailed = 0
  /** Held SYNs: taken, repeated, over the limits, given up by the application, and how they ended. */
  EngineHeldSyns = 0
  EngineHeldRepeats = 0
  EngineHeldOverflow = 0
  EngineHeldDestinationOverflow = 0
  EngineHeldAbandoned = 0
  EngineHeldAccepted = 0
  EngineHeldRefused = 0
  EngineHeldUnreachable = 0
  EngineHeldTimedOut = 0
  /** No path, no free port or no address of the right family for a new flow. */
  EngineNoPath = 0
  EngineNoPort = 0
  /** Relays that passed a reset on, in either direction. */
  EngineRelayResetByServer = 0
  EngineRelayResetByApplication = 0
  /** Relays whose application had ended and whose server took nothing any more: reset. */
  EngineRelayOrphans = 0
  /** Bugs: an invariant broke or something threw; that connection was reset. */
  EngineInternalErrors = 0
  /** Turns, and those that a blocked device cut short. */
  EngineTurns = 0
  EngineTxBlocked = 0
}

/** Adds every number of `from` to `into` under the same name. */
export function addCounters(into: Record<string, number>, from: object): void {
  for (const [name, value] of Object.entries(from)) {
    if (typeof value === 'number') into[name] = (into[name] ?? 0) + value
  }
}
