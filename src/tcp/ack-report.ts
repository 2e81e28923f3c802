import type { Micros } from '../base/time.js'

/** What one ACK told the scoreboard; a scratch object reused for every ACK. */
export class AckReport {
  /** Bytes newly cumulatively acknowledged. */
  acked = 0
  /** Bytes delivered for the first time, by ACK or SACK. */
  delivered = 0
  newlySacked = 0
  /** Sending instant of the latest-sent unambiguous record that the cumulative ACK delivered, -1: none. */
  sentAt: Micros = -1
  /** The same for what was newly SACKed. */
  sackedAt: Micros = -1
  /** The same for records that were sent more than once: their latest transmission. Only timestamps tell which one was answered. */
  resentAt: Micros = -1
  /** Bytes that a D-SACK reports as received twice (RFC 2883). */
  dsackLen = 0
  /** Something never retransmitted arrived behind what was delivered before: the path reorders. */
  isReordered = false
  /** Delivery rate in bytes per second over the interval of the latest-sent record delivered, 0: none (draft-cheng-iccrg-delivery-rate-estimation). */
  rateBps = 0
  isRateAppLimited = false
  /** Flight.deliveredTotal when that record was sent. */
  priorDelivered = -1
  priorDeliveredAt: Micros = 0
  sendElapsedUs: Micros = 0
  /** Something that was sent once, and ends at or below `originalBelow`, was delivered by this ACK (RFC 5682). */
  isOriginal = false
  /** Input for that; -1: nobody asks. */
  originalBelow = -1
  /** Input: the ACK's time, the clock that it echoes in milliseconds (-1: none), and the smallest round trip known. */
  now: Micros = 0
  echoMs = -1
  minRttUs: Micros = 0

  reset(now: Micros = 0, echoMs = -1, minRttUs: Micros = 0): void {
    this.now = now
    this.echoMs = echoMs
    this.minRttUs = minRttUs
    this.dsackLen = 0
    this.isReordered = false
    this.isOriginal = false
    this.originalBelow = -1
    this.rateBps = 0
    this.isRateAppLimited = false
    this.priorDelivered = -1
    this.acked = 0
    this.delivered = 0
    this.newlySacked = 0
    this.sentAt = -1
    this.sackedAt = -1
    this.resentAt = -1
  }
}
