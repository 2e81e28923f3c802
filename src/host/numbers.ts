/**
 * What is ours on the host can be told from everything else by these numbers: a killed run leaves them behind, and the next start
 * or `cleanup` finds it by them.
 */

/** Protocol number (`proto 119`) of every route and rule that we add. */
export const OWN_PROTOCOL = 119

/** Mark of the daemon's own traffic, which never enters the TUN. */
export const OWN_MARK = 0x77

/** Preferences of our rules; all other programs use rounder numbers, or have theirs chosen below the lowest that is there. */
export const PREF_EGRESS = 7696
export const PREF_EGRESS_STOP = 7697
export const PREF_MARK = 7699
export const PREF_STACK = 7700
export const PREF_STACK_STOP = 7701
export const PREF_ADMIT = 7702
export const PREF_NO_ROUTER = 7703
export const PREF_CAPTURED = 7710
export const PREF_CAPTURED_STOP = 7711
/** 7712-7716: TCP of this host. */
export const PREF_CAPTURE = 7712
/** 7718-7720: forwarded TCP. */
export const PREF_LAN_MAIN = 7718
export const PREF_LAN = 7719
export const PREF_LAN_STOP = 7720
/** 32761-32765: what stays out, just before the main table. */
export const PREF_STAY_OUT = 32_761
export const PREF_MAIN = 32_766

/** T: the main table without what goes through the TUN. */
export const TABLE_EGRESS_COPY = 7700
/** T2: everything into the TUN. */
export const TABLE_CAPTURE = 7701
/** T3, T4, ...: one more egress each, as many as MAX_EGRESSES. */
export const TABLE_FIRST_EGRESS = 7702
export const MAX_EGRESSES = 256

/** Behind every other route of a table. */
export const LAST_METRIC = 4_294_967_295

export type Family = 4 | 6
export const FAMILIES: readonly Family[] = [4, 6]

/** Whether a rule of that preference can be one of ours. */
export function isOwnPref(pref: number): boolean {
  return (pref >= PREF_EGRESS && pref <= PREF_LAN_STOP) || (pref >= PREF_STAY_OUT && pref < PREF_MAIN)
}
