"""The servers of the lab, on kernel MPTCP or plain kernel TCP.

usage: server.py PAYLOAD KIND:PROTOCOL:PORT...      KIND http | echo | halfclose | digest, PROTOCOL mptcp | tcp

Each listens on IPv4 and IPv6. Prints one JSON object a line: {"event": "ready"}, then what the kinds report.
  http       GET /bytes/N[?offset=K]  N bytes of the payload     PUT or POST  -> {"received": N, "sha256": ...}
             GET /reset/N             N bytes, then a RST        GET /progress -> bytes of the latest /bytes handed to the kernel
  echo       sends back what it gets until the client closes
  halfclose  sends 1 MiB and shuts down its direction at once, then reads to the end and reports what came
  digest     reads until the client shuts down its direction, then answers "N SHA256" and closes
"""
import hashlib
import json
import mmap
import os
import socket
import struct
import sys
import threading
from urllib.parse import parse_qs, urlsplit

PROTOCOLS = {"mptcp": 262, "tcp": 0}
CHUNK = 1 << 20

progress = 0
print_lock = threading.Lock()


def report(**event):
    with print_lock:
        print(json.dumps(event), flush=True)


def send_payload(conn, payload, offset, length, count=False):
    """Sends payload[offset:offset+length], starting over at its end."""
    global progress
    sent = 0
    while sent < length:
        at = (offset + sent) % len(payload)
        n = min(CHUNK, length - sent, len(payload) - at)
        conn.sendall(payload[at : at + n])
        sent += n
        if count:
            progress = sent


def read_digest(conn, length=None, first=b""):
    """Reads `length` bytes (None: to the end); returns their number and SHA-256."""
    digest = hashlib.sha256(first)
    got = len(first)
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    while length is None or got < length:
        want = CHUNK if length is None else min(CHUNK, length - got)
        n = conn.recv_into(view[:want])
        if n == 0:
            break
        digest.update(view[:n])
        got += n
    return got, digest.hexdigest()


def read_head(conn):
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = conn.recv(65536)
        if not chunk:
            return None, {}, b""
        data += chunk
        if len(data) > 65536:
            raise ValueError("header too long")
    head, rest = data.split(b"\r\n\r\n", 1)
    request, *lines = head.decode("latin-1").split("\r\n")
    fields = {}
    for line in lines:
        name, value = line.split(":", 1)
        fields[name.strip().lower()] = value.strip()
    return request.split(" "), fields, rest


def respond(conn, body, status="200 OK"):
    data = body.encode()
    conn.sendall(f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data)


def serve_http(conn, payload):
    request, fields, rest = read_head(conn)
    if request is None:
        return
    method, target = request[0], urlsplit(request[1])
    parts = target.path.strip("/").split("/")
    if method == "GET" and parts[0] == "bytes":
        length = int(parts[1])
        offset = int(parse_qs(target.query).get("offset", ["0"])[0])
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        conn.sendall(head.encode())
        send_payload(conn, payload, offset, length, count=True)
    elif method == "GET" and parts[0] == "reset":
        length = int(parts[1])
        conn.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {length * 2}\r\nConnection: close\r\n\r\n".encode())
        send_payload(conn, payload, 0, length)
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif method == "GET" and parts[0] == "progress":
        respond(conn, str(progress))
    elif method in ("PUT", "POST"):
        if fields.get("expect", "").lower() == "100-continue":
            conn.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        got, sha256 = read_digest(conn, int(fields["content-length"]), rest)
        respond(conn, json.dumps({"received": got, "sha256": sha256}))
    else:
        respond(conn, "not found", "404 Not Found")


def serve_echo(conn, payload):
    while True:
        data = conn.recv(65536)
        if not data:
            return
        conn.sendall(data)


def serve_halfclose(conn, payload):
    send_payload(conn, payload, 0, CHUNK)
    conn.shutdown(socket.SHUT_WR)
    got, sha256 = read_digest(conn)
    report(event="halfclose", received=got, sha256=sha256)


def serve_digest(conn, payload):
    got, sha256 = read_digest(conn)
    conn.sendall(f"{got} {sha256}\n".encode())


KINDS = {"http": serve_http, "echo": serve_echo, "halfclose": serve_halfclose, "digest": serve_digest}


def handle(kind, conn, payload):
    try:
        with conn:
            KINDS[kind](conn, payload)
    except OSError as error:
        report(event="error", kind=kind, errno=error.errno, message=str(error))


def accept_for_ever(kind, listener, payload):
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=handle, args=(kind, conn, payload), daemon=True).start()


def listen(family, protocol, port):
    listener = socket.socket(family, socket.SOCK_STREAM, PROTOCOLS[protocol])
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
    listener.listen(1024)
    return listener


def main():
    path, *specs = sys.argv[1:]
    with open(path, "rb") as file:
        payload = memoryview(mmap.mmap(file.fileno(), os.fstat(file.fileno()).st_size, prot=mmap.PROT_READ))
    for spec in specs:
        kind, protocol, port = spec.split(":")
        for family in (socket.AF_INET, socket.AF_INET6):
            listener = listen(family, protocol, int(port))
            threading.Thread(target=accept_for_ever, args=(kind, listener, payload), daemon=True).start()
    report(event="ready")
    threading.Event().wait()


main()
