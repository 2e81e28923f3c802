"""Makes the expected numbers of coupled.json from the equations, in exact fractions: python3 test/vectors/coupled.py < coupled.json

Input and output are the list of cases; `lia` and `olia` are filled in anew, so that the output equals the input when nothing has changed.

LIA, RFC 6356 section 3, per acknowledgement, windows in bytes:
    min(alpha * acked * MSS / w_total, acked * MSS / w_i),  alpha = w_total * max(w_i / rtt_i^2) / (sum w_i / rtt_i)^2
OLIA, Khalili et al., CoNEXT 2012, per acknowledged packet, windows in packets:
    (w_r / rtt_r^2) / (sum w_p / rtt_p)^2 + alpha_r / w_r
    best paths B: maximal l^2 / rtt; M: maximal window; C = B without M
    alpha = 1 / (n |C|) on C and -1 / (n |M|) on M when C is not empty, else 0
"""

import json
import sys
from fractions import Fraction as F


def lia(w, rtt, mss, acked):
    total = sum(w)
    rate = sum(a / r for a, r in zip(w, rtt))
    alpha = total * max(a / r**2 for a, r in zip(w, rtt)) / rate**2
    return [min(alpha * acked * mss / total, acked * mss / a) for a in w]


def olia(w, rtt, between, mss, acked):
    packets = [a / mss for a in w]
    rate = sum(a / r for a, r in zip(packets, rtt))
    n = len(w)
    score = [b**2 / r for b, r in zip(between, rtt)]
    best = {i for i in range(n) if score[i] == max(score)}
    large = {i for i in range(n) if w[i] == max(w)}
    collected = best - large
    out = []
    for i in range(n):
        alpha = F(0)
        if collected and i in collected:
            alpha = F(1, n * len(collected))
        elif collected and i in large:
            alpha = F(-1, n * len(large))
        per_packet = packets[i] / rtt[i] ** 2 / rate**2 + alpha / packets[i]
        out.append(per_packet * acked)  # packets per packet: bytes per byte
    return out


cases = json.load(sys.stdin)
for c in cases:
    w, rtt, between = ([F(x) for x in c[k]] for k in ("windows", "rttUs", "bytesBetweenLosses"))
    mss, acked = F(c["mss"]), F(c["acked"])
    c["lia"] = [float(x) for x in lia(w, rtt, mss, acked)]
    c["olia"] = [float(x) for x in olia(w, rtt, between, mss, acked)]
json.dump(cases, sys.stdout, indent=2)
print()
