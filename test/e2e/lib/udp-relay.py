"""Sends datagrams that lines of standard input name (HOST PORT HEX), and prints those that come back (HOST PORT HEX)."""
import socket
import sys
import threading

sockets = {4: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 6: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)}
lock = threading.Lock()


def receive(sock):
    while True:
        data, where = sock.recvfrom(4096)
        with lock:
            print(where[0], where[1], data.hex(), flush=True)


for family, sock in sockets.items():
    sock.bind(("::" if family == 6 else "0.0.0.0", 0))
    threading.Thread(target=receive, args=(sock,), daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:
    host, port, text = line.split(" ")
    sockets[6 if ":" in host else 4].sendto(bytes.fromhex(text), (host, int(port)))
