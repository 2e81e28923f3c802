/** SYN sent, or third ACK awaited. */
export const PHASE_SYN = 0
/** Active, initial: the peer has shown its key, but nothing proves yet that it has ours. */
export const PHASE_UNCONFIRMED = 1
/** Active join: the third ACK is out, no data before the fourth (RFC 8684 §3.2 PRE_ESTABLISHED). */
export const PHASE_JOINING = 2
export const PHASE_OPEN = 3
/** Fallen back: no options, the stream is counted in SeqOff. */
export const PHASE_PLAIN = 4
/** The endpoint is closed, or lingers in TIME-WAIT by itself. */
export const PHASE_DEAD = 5
export type Phase = 0 | 1 | 2 | 3 | 4 | 5

/** Names for `status`. */
export const PHASE_NAMES: readonly string[] = ['syn', 'unconfirmed', 'joining', 'open', 'plain', 'dead']
