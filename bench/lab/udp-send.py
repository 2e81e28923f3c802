"""udp-send.py HOST PORT LENGTH COUNT PER_SECOND: datagrams at an even rate; nobody needs to receive them."""

import socket
import sys
import time

host, port, length, count, per_second = sys.argv[1], *map(int, sys.argv[2:])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
sock = socket.socket(family, socket.SOCK_DGRAM)
payload = bytes(length)
start = time.monotonic()
sent = 0
while sent < count:
    due = min(count, int((time.monotonic() - start) * per_second) + 1)
    while sent < due:
        sock.sendto(payload, (host, port))
        sent += 1
    time.sleep(0.0005)
