/** TCP option kind of all MPTCP options (RFC 8684 §3). */
export const OPT_MPTCP = 30

/** Subtypes, RFC 8684 §7.2. */
export const MP_CAPABLE = 0
export const MP_JOIN = 1
export const MP_DSS = 2
export const MP_ADD_ADDR = 3
export const MP_REMOVE_ADDR = 4
export const MP_PRIO = 5
export const MP_FAIL = 6
export const MP_FASTCLOSE = 7
export const MP_TCPRST = 8

/** Bits of `MptcpOptions.present`: 1 << subtype. */
export const HAS_CAPABLE = 1
export const HAS_JOIN = 2
export const HAS_DSS = 4
export const HAS_ADD_ADDR = 8
export const HAS_REMOVE_ADDR = 16
export const HAS_PRIO = 32
export const HAS_FAIL = 64
export const HAS_FASTCLOSE = 128
export const HAS_RST = 256

/** Flags of MP_CAPABLE, RFC 8684 §3.1. */
export const CAPABLE_CHECKSUM = 0x80
export const CAPABLE_EXTENSIBILITY = 0x40
export const CAPABLE_DENY_JOIN = 0x20
export const CAPABLE_HMAC_SHA256 = 0x01

/** Reasons of MP_TCPRST, RFC 8684 §3.6. */
export const RST_UNSPECIFIED = 0
export const RST_MPTCP_ERROR = 1
export const RST_NO_RESOURCES = 2
export const RST_PROHIBITED = 3
export const RST_TOO_MUCH_OUTSTANDING = 4
export const RST_BAD_PERFORMANCE = 5
export const RST_MIDDLEBOX = 6

/** Whether a new subflow by the same path may do better later: what the T flag says (RFC 8684 §3.6). */
export function isTransient(reason: number): boolean {
  return reason === RST_NO_RESOURCES || reason === RST_TOO_MUCH_OUTSTANDING || reason === RST_BAD_PERFORMANCE
}

/** The version that we speak. */
export const MPTCP_VERSION = 1

/** Flags of DSS, RFC 8684 §3.3: DATA_ACK there, of 8 bytes; mapping there, DSN of 8 bytes; DATA_FIN. */
export const DSS_ACK = 1
export const DSS_ACK8 = 2
export const DSS_MAP = 4
export const DSS_DSN8 = 8
export const DSS_FIN = 16

/** Address ids that fit into one REMOVE_ADDR of 40 bytes. */
export const MAX_REMOVE_IDS = 37
