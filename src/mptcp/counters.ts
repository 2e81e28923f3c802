/**
 * What happened, counted under Linux's names (net/mptcp/mib.c); the exporter adds the prefix `MPTcpExt`. Those that Linux does not
 * have stand at the end. One object per stack.
 */
export class MptcpCounters {
  // MP_CAPABLE
  MPCapableSYNRX = 0
  MPCapableSYNTX = 0
  MPCapableSYNACKRX = 0
  MPCapableACKRX = 0
  MPCapableFallbackACK = 0
  MPCapableFallbackSYNACK = 0
  MPCapableSYNTXDrop = 0
  MPCapableDataFallback = 0
  MPFallbackTokenInit = 0
  SimultConnectFallback = 0
  DssFallback = 0
  FallbackFailed = 0
  // MP_JOIN
  MPJoinNoTokenFound = 0
  MPJoinSynRx = 0
  MPJoinSynBackupRx = 0
  MPJoinSynAckRx = 0
  MPJoinSynAckBackupRx = 0
  MPJoinSynAckHMacFailure = 0
  MPJoinAckRx = 0
  MPJoinAckHMacFailure = 0
  MPJoinRejected = 0
  MPJoinSynTx = 0
  // data
  MPTCPRetrans = 0
  DSSNotMatching = 0
  DSSNoMatchTCP = 0
  DSSCorruptionFallback = 0
  DSSCorruptionReset = 0
  InfiniteMapTx = 0
  InfiniteMapRx = 0
  DataCsumErr = 0
  NoDSSInWindow = 0
  DuplicateData = 0
  SubflowStale = 0
  SubflowRecover = 0
  // signals
  AddAddr = 0
  AddAddrDrop = 0
  AddAddrTx = 0
  EchoAdd = 0
  EchoAddTx = 0
  PortAdd = 0
  RmAddr = 0
  RmAddrTx = 0
  RmSubflow = 0
  MPPrioTx = 0
  MPPrioRx = 0
  MPFailTx = 0
  MPFailRx = 0
  MPFastcloseTx = 0
  MPFastcloseRx = 0
  MPRstTx = 0
  MPRstRx = 0
  /** Gauge: connections that speak MPTCP now. */
  MPCurrEstab = 0
  // ours
  /** Third ACKs with MP_CAPABLE sent, repetitions not counted. */
  MPCapableACKTX = 0
  /** Gauge: joins of peers whose third ACK is awaited. */
  MPJoinPending = 0
  /** Third ACKs with MP_JOIN sent, repetitions counted. */
  MPJoinAckTx = 0
  /** DATA_FINs sent, repetitions counted. */
  DataFinTx = 0
  /** Data-level timer fired. */
  DataRtx = 0
  /** Bytes sent again on another subflow. */
  ReinjectedBytes = 0
  /** Bytes received without a mapping and kept in the hope of one. */
  StagedBytes = 0
  /** Stretches placed by their order, because a box in the path took their mapping away. */
  ImpliedMappings = 0
  /** Options that could not be true: DATA_ACK of what was never sent, DSN before the start, data behind DATA_FIN. */
  BadOption = 0
  /** Subflows reset because no mapping came within a receive window. */
  UnmappedReset = 0
  /** Subflows reset because they pinned the send buffer (MP_TCPRST reason 4). */
  PinnedReset = 0
  /** Mute subflows reset to make room for one that the peer opened from the same address (MP_TCPRST reason 5). */
  SilentReset = 0
  /** Announcements whose HMAC was wrong. */
  AddAddrHMacFailure = 0
  /** Bytes sent again on a faster subflow because a slow one blocked the window. */
  OpportunisticBytes = 0
  /** Mappings of which only the first segment said so (sparse DSS). */
  SparseMappings = 0
  /** Subflows that stopped to leave out DSSs, because something went wrong on them. */
  SparseOff = 0
  /** Connections without any subflow that were given up. */
  BreakBeforeMakeTimeout = 0
}
