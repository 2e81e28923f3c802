/*
 * What congestion control is expected to reach under random loss, from the literature: packets per second for a loss probability `p`
 * per packet and a round trip of `rtt` seconds. Deliberately without src.
 */

const C = 0.4
const BETA = 0.7

/** RFC 9438 §5.2 (figure 5): average of the cubic function over loss intervals of 1 / p packets. */
export function cubicResponse(p: number, rtt: number): number {
  return (((C * (3 + BETA)) / (4 * (1 - BETA))) ** 0.25 * (rtt / p) ** 0.75) / rtt
}

/** RFC 9438 §4.3: a flow that reduces by 0.3 and grows so that it gets what Reno would, sqrt(3 / 2p) a round trip. */
export function friendlyResponse(p: number, rtt: number): number {
  return Math.sqrt(1.5 / p) / rtt
}

/** Padhye, Firoiu, Towsley, Kurose: Reno with timeouts of `rto` seconds, a receiver that acknowledges every `b` packets. */
export function pftkResponse(p: number, rtt: number, rto: number, b: number): number {
  return 1 / (rtt * Math.sqrt((2 * b * p) / 3) + rto * Math.min(1, 3 * Math.sqrt((3 * b * p) / 8)) * p * (1 + 32 * p * p))
}

/**
 * RFC 9438 §4.2 to §4.7 as an ideal flow, a round trip at a time, whose losses come at random intervals instead of regular ones: above
 * the two closed forms, most of all where both say the same, because each interval takes the better of the two.
 * @param random uniform numbers in [0, 1)
 */
export function randomLossResponse(p: number, rtt: number, losses: number, random: () => number): number {
  const interval = () => -Math.log(1 - random()) / p
  let cwnd = 10
  let wMax = cwnd
  let prior = cwnd
  let wEst = cwnd
  let k = 0
  let epoch = 0
  let time = 0
  let packets = 0
  let next = interval()
  for (let n = 0; n < losses; ) {
    if (packets + cwnd >= next) {
      n++
      time += (rtt * (next - packets)) / cwnd
      packets = next
      wMax = cwnd < wMax ? (cwnd * (1 + BETA)) / 2 : cwnd
      prior = cwnd
      cwnd = Math.max(2, cwnd * BETA)
      wEst = cwnd
      epoch = time
      k = wMax > cwnd ? Math.cbrt((wMax - cwnd) / C) : 0
      if (wMax < cwnd) wMax = cwnd
      next = packets + interval()
      continue
    }
    packets += cwnd
    time += rtt
    wEst += wEst < prior ? (3 * (1 - BETA)) / (1 + BETA) : 1
    const t = time - epoch
    if (C * (t - k) ** 3 + wMax < wEst) cwnd = Math.max(cwnd, wEst)
    else cwnd = Math.min(1.5 * cwnd, Math.max(cwnd, C * (t + rtt - k) ** 3 + wMax))
  }
  return packets / time
}
