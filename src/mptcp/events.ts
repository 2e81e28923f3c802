// Events of a connection, for its owner (`takeEvents`).

/** The remote leg is up: MPTCP or plain, see `isMptcp`. */
export const C_ESTABLISHED = 1
/** The peer's stream has ended and all of it is in the receive queue. */
export const C_PEER_FIN = 2
/** Over; `cause` says how. Subflows may still exchange FINs. */
export const C_CLOSED = 4
/** The receive queue grew. */
export const C_DATA = 8
/** The send queue shrank. */
export const C_SPACE = 16
/** Nothing is left to do or to wait for: the owner may forget the connection. */
export const C_DONE = 32
export const C_FALLBACK = 64
/** A subflow came up or went down. */
export const C_SUBFLOW = 128
/** The peer has announced or withdrawn addresses, see `addressing`. */
export const C_ADDRESSES = 256
