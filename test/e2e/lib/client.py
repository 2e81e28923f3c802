"""Client programs of the lab that no standard tool offers. Each prints one JSON object.

usage: client.py [--mptcp] COMMAND HOST PORT ...
  many HOST PORT COUNT BYTES     COUNT connections, all open before the first asks; each downloads BYTES by HTTP at an own offset
  stall HOST PORT BYTES SECONDS  downloads BYTES by HTTP, but stops reading for SECONDS after the first MiB
  read-then-write HOST PORT N    reads to the end of the server's direction, then sends N bytes of standard input's file
  write-then-read HOST PORT      sends standard input, shuts down its direction, prints what the server answers
  abort HOST PORT BYTES          downloads BYTES by HTTP of a longer body and resets the connection
  connect HOST PORT SECONDS      connects; prints how that ended and how long it took
  echo HOST PORT ROUNDS          ROUNDS times 64 bytes there and back, one after the other; prints the median and the 99th percentile
"""
import errno
import hashlib
import json
import socket
import struct
import sys
import threading
import time

CHUNK = 1 << 20
protocol = 0


def dial(host, port, timeout=30):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    conn = socket.socket(family, socket.SOCK_STREAM, protocol)
    conn.settimeout(timeout)
    conn.connect((host, int(port)))
    return conn


def request(conn, length, offset=0):
    conn.sendall(f"GET /bytes/{length}?offset={offset} HTTP/1.1\r\nHost: lab\r\n\r\n".encode())


def read_head(conn):
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = conn.recv(4096)
        if not chunk:
            raise EOFError("closed in the header")
        data += chunk
    return data.split(b"\r\n\r\n", 1)[1]


def read_body(conn, digest, got=0, until=None):
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    while until is None or got < until:
        n = conn.recv_into(view)
        if n == 0:
            break
        digest.update(view[:n])
        got += n
    return got


def many(host, port, count, length):
    count, length = int(count), int(length)
    conns = [dial(host, port) for _ in range(count)]
    results = [None] * count

    def download(index):
        try:
            conn = conns[index]
            request(conn, length, index * length // 4)
            first = read_head(conn)
            digest = hashlib.sha256(first)
            got = read_body(conn, digest, len(first))
            results[index] = {"received": got, "sha256": digest.hexdigest()}
            conn.close()
        except (OSError, EOFError) as error:
            results[index] = {"error": str(error)}

    threads = [threading.Thread(target=download, args=(index,)) for index in range(count)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"results": results, "seconds": time.monotonic() - started}


def stall(host, port, length, seconds):
    conn = dial(host, port)
    request(conn, int(length))
    first = read_head(conn)
    digest = hashlib.sha256(first)
    got = read_body(conn, digest, len(first), CHUNK)
    print(json.dumps({"stalled": got}), flush=True)
    time.sleep(float(seconds))
    got = read_body(conn, digest, got)
    return {"received": got, "sha256": digest.hexdigest()}


def read_then_write(host, port, length):
    conn = dial(host, port)
    digest = hashlib.sha256()
    got = read_body(conn, digest)
    conn.sendall(sys.stdin.buffer.read(int(length)))
    conn.close()
    return {"received": got, "sha256": digest.hexdigest()}


def write_then_read(host, port):
    conn = dial(host, port)
    conn.sendall(sys.stdin.buffer.read())
    conn.shutdown(socket.SHUT_WR)
    answer = b""
    while chunk := conn.recv(4096):
        answer += chunk
    return {"answer": answer.decode().strip()}


def abort(host, port, length):
    conn = dial(host, port)
    request(conn, 100 * int(length))
    got = read_body(conn, hashlib.sha256(), len(read_head(conn)), int(length))
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    conn.close()
    return {"received": got}


def connect(host, port, seconds):
    started = time.monotonic()
    try:
        dial(host, port, float(seconds)).close()
        outcome = "connected"
    except TimeoutError as error:
        outcome = "ETIMEDOUT" if error.errno else "gave up"
    except OSError as error:
        outcome = errno.errorcode.get(error.errno, str(error))
    return {"outcome": outcome, "seconds": time.monotonic() - started}


def echo(host, port, rounds):
    conn = dial(host, port)
    conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    message = bytes(range(64))
    times = []
    for _ in range(int(rounds)):
        started = time.perf_counter()
        conn.sendall(message)
        got = b""
        while len(got) < len(message):
            chunk = conn.recv(4096)
            if not chunk:
                raise EOFError("closed in the middle of a round")
            got += chunk
        if got != message:
            raise ValueError("echo differs")
        times.append((time.perf_counter() - started) * 1e6)
    times.sort()
    conn.close()
    return {"p50Us": times[len(times) // 2], "p99Us": times[len(times) * 99 // 100]}


COMMANDS = {
    "many": many,
    "stall": stall,
    "read-then-write": read_then_write,
    "write-then-read": write_then_read,
    "abort": abort,
    "connect": connect,
    "echo": echo,
}

arguments = sys.argv[1:]
if arguments[0] == "--mptcp":
    protocol = 262
    arguments.pop(0)
print(json.dumps(COMMANDS[arguments[0]](*arguments[1:])))
