"""Small peers for what is no TCP, and for sockets with options. Each prints one JSON object a line.

usage: net.py COMMAND ...
  udp-serve PORT HOST...           answers every datagram to these addresses with itself; prints {"event": "ready"}
  udp HOST PORT [SOURCE]           one datagram there and back; SOURCE: address to bind to, or @DEVICE
  tcp-serve HOST PORT              accepts, answers every line with the peer's address; prints {"event": "ready"}
  tcp HOST PORT [SOURCE [TOS]]     connects, sends a line, prints the answer
  send-for-ever HOST PORT          connects and sends until an error; prints it with the bytes sent
  advertise DEVICE LIFETIME PREFIX one IPv6 router advertisement
"""
import errno
import json
import socket
import struct
import sys
import threading
import time

def report(**event):
    print(json.dumps(event), flush=True)


def family_of(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def resolve(host, port, kind):
    return socket.getaddrinfo(host, int(port), family_of(host), kind)[0][4]


def open_socket(host, kind, source):
    sock = socket.socket(family_of(host), kind)
    sock.settimeout(3)
    if source.startswith("@"):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, source[1:].encode() + b"\0")
    elif source:
        sock.bind((source, 0))
    return sock


def udp_serve(port, *hosts):
    def answer(sock):
        while True:
            data, peer = sock.recvfrom(65535)
            sock.sendto(data, peer)

    for host in hosts:
        sock = socket.socket(family_of(host), socket.SOCK_DGRAM)
        sock.bind((host, int(port)))
        threading.Thread(target=answer, args=(sock,), daemon=True).start()
    report(event="ready")
    threading.Event().wait()


def udp(host, port, source=""):
    sock = open_socket(host, socket.SOCK_DGRAM, source)
    try:
        sock.sendto(b"hello" * 20, resolve(host, port, socket.SOCK_DGRAM))
        data, _ = sock.recvfrom(65535)
        report(outcome="answered" if data == b"hello" * 20 else "damaged")
    except OSError as error:
        report(outcome="ETIMEDOUT" if isinstance(error, TimeoutError) else errno.errorcode.get(error.errno, str(error)))


def tcp_serve(host, port):
    listener = socket.socket(family_of(host), socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(resolve(host, port, socket.SOCK_STREAM))
    listener.listen(16)
    report(event="ready")
    while True:
        conn, peer = listener.accept()
        conn.recv(100)
        conn.sendall(f"{peer[0]}\n".encode())
        conn.close()


def tcp(host, port, source="", tos="0"):
    sock = open_socket(host, socket.SOCK_STREAM, source)
    if int(tos) != 0:
        if family_of(host) == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, int(tos))
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, int(tos))
    try:
        sock.connect(resolve(host, port, socket.SOCK_STREAM))
        local = sock.getsockname()[0]
        sock.sendall(b"hello\n")
        report(outcome="connected", seen=sock.recv(100).decode().strip(), local=local)
    except OSError as error:
        report(outcome="ETIMEDOUT" if isinstance(error, TimeoutError) else errno.errorcode.get(error.errno, str(error)))


def send_for_ever(host, port):
    sock = socket.socket(family_of(host), socket.SOCK_STREAM)
    sock.connect(resolve(host, port, socket.SOCK_STREAM))
    report(event="connected", local=sock.getsockname()[0])
    sent = 0
    started = time.monotonic()
    try:
        while True:
            sent += sock.send(b"x" * 8192)
            time.sleep(0.005)
    except OSError as error:
        report(event="ended", error=errno.errorcode.get(error.errno, str(error)), sent=sent, seconds=time.monotonic() - started)


def advertise(device, lifetime, prefix):
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
    index = socket.if_nametoindex(device)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    head = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, int(lifetime), 0, 0)
    network = socket.inet_pton(socket.AF_INET6, prefix)
    option = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 1800, 0) + network
    sock.sendto(head + option, ("ff02::1", 0, 0, index))
    report(event="sent")


COMMANDS = {
    "udp-serve": udp_serve,
    "udp": udp,
    "tcp-serve": tcp_serve,
    "tcp": tcp,
    "send-for-ever": send_for_ever,
    "advertise": advertise,
}
COMMANDS[sys.argv[1]](*sys.argv[2:])
