/** What an endpoint remembers in single bits (`TcpEndpoint.bits`): an idle one has no room for a field each. */

/** A RST has to be sent. */
export const DUE_RST = 1
/** A window probe has to be sent. */
export const DUE_PROBE = 2
/** A tail loss probe has to be sent. */
export const DUE_TLP = 8
/** Both sides agreed on ECN; a congestion mark is echoed until CWR comes; the next new data carries CWR (RFC 3168 §6.1). */
export const ECN_OK = 16
export const ECE_DUE = 32
export const CWR_DUE = 64
/** Nothing but the SYN/ACK was received yet: pure ACKs repeat the third ACK. */
export const ONLY_SYNACK = 4

/** The RST answers a segment: it goes without timestamps, as from a socket that is gone (Linux tcp_v4_send_reset). */
export const BARE_RST = 128

/** RFC 3168 §5: the two low bits of the traffic class. */
export const ECN_MASK = 3
export const ECN_ECT0 = 2
export const ECN_CE = 3
