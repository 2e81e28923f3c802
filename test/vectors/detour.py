"""Makes detour-v2.json and detour-v1.json from the text of docs/detour-protocol.md, with nothing of src: RFC 8439 and RFC 5869 stand
here in their naive form and are checked against the RFCs' own examples first.

    python3 test/vectors/detour.py        writes both files beside this one
"""

import base64
import hashlib
import hmac
import ipaddress
import json
import pathlib
import struct

# RFC 8439


def quarter(s, a, b, c, d):
    for x, y, z, n in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        s[x] = (s[x] + s[y]) & 0xFFFFFFFF
        v = s[z] ^ s[x]
        s[z] = ((v << n) | (v >> (32 - n))) & 0xFFFFFFFF


def block(key, counter, nonce):
    start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574, *struct.unpack('<8I', key), counter, *struct.unpack('<3I', nonce)]
    s = list(start)
    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter(s, a, b, c, d)
    return struct.pack('<16I', *((x + y) & 0xFFFFFFFF for x, y in zip(s, start)))


def chacha20(key, counter, nonce, data):
    out = bytearray()
    for i in range(0, len(data), 64):
        out += bytes(x ^ y for x, y in zip(data[i : i + 64], block(key, counter + i // 64, nonce)))
    return bytes(out)


def poly1305(key, message):
    r = int.from_bytes(key[:16], 'little') & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    acc = 0
    for i in range(0, len(message), 16):
        acc = (acc + int.from_bytes(message[i : i + 16] + b'\x01', 'little')) * r % (2**130 - 5)
    return ((acc + int.from_bytes(key[16:], 'little')) & (2**128 - 1)).to_bytes(16, 'little')


def seal(key, nonce, plain, aad):
    sealed = chacha20(key, 1, nonce, plain)
    pad = lambda b: b + bytes(-len(b) % 16)
    tag = poly1305(block(key, 0, nonce)[:32], pad(aad) + pad(sealed) + struct.pack('<QQ', len(aad), len(sealed)))
    return sealed + tag


# RFC 8439 section 2.8.2
assert seal(
    bytes(range(0x80, 0xA0)),
    bytes.fromhex('070000004041424344454647'),
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
    bytes.fromhex('50515253c0c1c2c3c4c5c6c7'),
).hex() == (
    'd31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36'
    '92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691'
)

# RFC 5869


def hkdf(secret, salt, info, length):
    prk = hmac.new(salt, secret, hashlib.sha256).digest()
    out, last, n = b'', b'', 1
    while len(out) < length:
        last = hmac.new(prk, last + info + bytes([n]), hashlib.sha256).digest()
        out += last
        n += 1
    return out[:length]


# RFC 5869 appendix A.1
assert hkdf(b'\x0b' * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42).hex() == (
    '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865'
)

# The protocol


def address(text):
    a = ipaddress.ip_address(text)
    return a.packed if a.version == 6 else bytes(10) + b'\xff\xff' + a.packed


def op_bytes(o):
    if o['op'] == 'map':
        ends = struct.pack('>HHH', o['remotePort'], o['detourPort'], o['flags'])
        return b'\x01' + bytes.fromhex(o['mapId']) + struct.pack('>I', o['leaseS']) + address(o['remote']) + ends
    if o['op'] == 'mapped':
        head = b'\x81' + bytes.fromhex(o['mapId']) + struct.pack('>BI', o['result'], o['leaseS'])
        return head + address(o['detour']) + struct.pack('>HIH', o['detourPort'], o['epoch'], o['quotaLeft'])
    if o['op'] == 'ping':
        return b'\x02' + bytes.fromhex(o['echo'])
    if o['op'] == 'pong':
        return b'\x82' + bytes.fromhex(o['echo']) + address(o['seenAddress']) + struct.pack('>H', o['seenPort'])
    if o['op'] == 'time':
        return b'\x83' + struct.pack('>Q', o['timeUs'])
    return b'\x84'


def answer_len(o):
    return 38 if o['op'] == 'map' else 27


def datagram(kind, key_id, key, time_us, random, ops):
    plain = b''.join(map(op_bytes, ops))
    room = max(len(plain), sum(map(answer_len, ops))) if kind == 1 else len(plain)
    plain += bytes(-(-room // 64) * 64 - len(plain))
    aad = bytes([2, kind, 0, 0]) + key_id
    nonce = struct.pack('>QI', time_us, random)
    return aad + nonce + seal(key, nonce, plain, aad)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b'=').decode()


key_id = bytes.fromhex('0001feff80c0a55a')
secret = hashlib.sha256(b'vector').digest()
request_key = hkdf(secret, b'mptcp detour v2', b'request', 32)
reply_key = hkdf(secret, b'mptcp detour v2', b'reply', 32)

MAP4 = {'op': 'map', 'mapId': '0123456789abcdef', 'leaseS': 120, 'remote': '198.51.100.9', 'remotePort': 443, 'detourPort': 20443, 'flags': 1}
MAP6 = {'op': 'map', 'mapId': 'ffffffffffffffff', 'leaseS': 0, 'remote': '2001:db8::9', 'remotePort': 65535, 'detourPort': 0, 'flags': 0}
PING = {'op': 'ping', 'echo': 'a0a1a2a3a4a5a6a7'}
OK = {'op': 'mapped', 'mapId': '0123456789abcdef', 'result': 0, 'leaseS': 120, 'detour': '192.0.2.7', 'detourPort': 20443, 'epoch': 4026531841, 'quotaLeft': 511}
REFUSED = {'op': 'mapped', 'mapId': 'ffffffffffffffff', 'result': 6, 'leaseS': 0, 'detour': '2001:db8::7', 'detourPort': 0, 'epoch': 1, 'quotaLeft': 0}
PONG = {'op': 'pong', 'echo': 'a0a1a2a3a4a5a6a7', 'seenAddress': '203.0.113.5', 'seenPort': 61000}
TIME = {'op': 'time', 'timeUs': 1790000000123456}
NUMBERED = [dict(MAP4, mapId=f'{n:016x}', detourPort=20000 + n) for n in range(30)]

cases = []
for name, kind, ops in (
    ('a mapping over IPv4', 1, [MAP4]),
    ('a deletion over IPv6', 1, [MAP6]),
    ('a measurement: padded for its longer answer', 1, [PING]),
    ('several operations', 1, [MAP4, PING, MAP6]),
    ('as many mappings as fit', 1, NUMBERED),
    ('granted', 2, [OK]),
    ('refused', 2, [REFUSED]),
    ('measured', 2, [PONG]),
    ('the clock of the daemon', 2, [TIME]),
    ('the daemon ends: a nonce of its own', 2, [{'op': 'bye'}]),
    ('several answers', 2, [OK, PONG, REFUSED]),
):
    time_us, random = 1790000000000000 + len(cases), 0xDEADBEEF - len(cases)
    sealed = datagram(kind, key_id, request_key if kind == 1 else reply_key, time_us, random, ops)
    cases.append({'name': name, 'type': kind, 'timeUs': time_us, 'random': random, 'ops': ops, 'datagram': sealed.hex()})

v1 = []
for name, op, remote, remote_port, detour_port in (
    ('request', 0, '198.51.100.9', 443, 443),
    ('request for any port', 0, '203.0.113.255', 8080, 0),
    ('response', 1, '198.51.100.9', 443, 49152),
    ('response with the largest numbers', 1, '255.255.255.255', 65535, 65535),
):
    wire = struct.pack('>BBH4sHH', 1, op, 0, ipaddress.ip_address(remote).packed, remote_port, detour_port)
    v1.append({'name': name, 'op': op, 'remote': remote, 'remotePort': remote_port, 'detourPort': detour_port, 'datagram': wire.hex()})

here = pathlib.Path(__file__).parent
token = f'mptcp-detour://{b64(key_id)}.{b64(secret)}@'
v2 = {
    'keyId': key_id.hex(),
    'secret': secret.hex(),
    'tokens': {f'{token}192.0.2.7': ['192.0.2.7', 45672], f'{token}[2001:db8::7]:4000': ['2001:db8::7', 4000], f'{token}detour.example': ['detour.example', 45672]},
    'requestKey': request_key.hex(),
    'replyKey': reply_key.hex(),
    'datagrams': cases,
}
(here / 'detour-v2.json').write_text(json.dumps(v2, indent=2) + '\n')
(here / 'detour-v1.json').write_text(json.dumps(v1, indent=2) + '\n')
