/** Connection states, RFC 9293 §3.3.2. LISTEN and SYN-RECEIVED before acceptance live in Listener and HalfOpen. */
export const CLOSED = 0
export const SYN_SENT = 1
export const SYN_RECEIVED = 2
export const ESTABLISHED = 3
export const FIN_WAIT_1 = 4
export const FIN_WAIT_2 = 5
export const CLOSE_WAIT = 6
export const CLOSING = 7
export const LAST_ACK = 8
export const TIME_WAIT = 9
export type TcpState = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9

/** As `ss` prints them. */
export const STATE_NAMES: readonly string[] = [
  'CLOSED',
  'SYN-SENT',
  'SYN-RECV',
  'ESTAB',
  'FIN-WAIT-1',
  'FIN-WAIT-2',
  'CLOSE-WAIT',
  'CLOSING',
  'LAST-ACK',
  'TIME-WAIT',
]

/** Why an endpoint was closed. */
export const CAUSE_NONE = 0
/** Orderly, both FINs exchanged. */
export const CAUSE_FIN = 1
/** RST from the peer. */
export const CAUSE_RESET = 2
/** RST in answer to our SYN: ECONNREFUSED. */
export const CAUSE_REFUSED = 3
/** No answer: ETIMEDOUT. */
export const CAUSE_TIMEOUT = 4
/** ICMP host or network unreachable while connecting: EHOSTUNREACH. */
export const CAUSE_UNREACHABLE = 5
/** Reset by us. */
export const CAUSE_ABORTED = 6
export type CloseCause = 0 | 1 | 2 | 3 | 4 | 5 | 6

/** Events that an endpoint notes for its owner, who takes them in its pump (`takeEvents`). */
export const EV_ESTABLISHED = 1
/** The peer's FIN arrived in order. */
export const EV_PEER_FIN = 2
/** The endpoint is CLOSED; `cause` says why. */
export const EV_CLOSED = 4
/** Our send window opened, or ACKs came: the scheduler may be asked again. */
export const EV_ACKED = 8
/** Payload was delivered to the sink. */
export const EV_DATA = 16
