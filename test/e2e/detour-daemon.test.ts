import { cpSync, existsSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { parseAddress } from '../../src/config/address-text.js'
import { RESULT_CONFLICT, RESULT_DENIED, RESULT_NO_PORT, RESULT_OK, RESULT_QUOTA } from '../../src/detour/protocol/ops.js'
import { encodeV1, V1_REQUEST } from '../../src/detour/protocol/v1.js'
import { openReply, sealRequest } from '../../src/detour/protocol/v2.js'
import { PROGRAM } from './lib/daemon.js'
import { DETOUR_ADDRESS, DetourLab, mapOp, RawClient, server4, server6 } from './lib/detour-lab.js'
import { type Background, becomes } from './lib/exec.js'
import type { Namespace } from './lib/lab.js'
import { snapshot } from './lib/snapshot.js'

const ECHO_PORT = 9000
const ALLOW = ['--allow-destination', '10.77.2.0/24', 'fd77:0:0:2::/64']

/** Echoes lines, and begins with the address that it sees. */
const ECHO = `
import socket, threading
def serve(c, a):
    c.sendall((a[0].replace('::ffff:', '') + '\\n').encode())
    while True:
        d = c.recv(65536)
        if not d: break
        c.sendall(d)
    c.close()
s = socket.create_server(('::', ${ECHO_PORT}), family=socket.AF_INET6, dualstack_ipv6=True)
print('up', flush=True)
while True: threading.Thread(target=serve, args=s.accept(), daemon=True).start()
`
/** Connects, then has a line echoed every 50 ms, and says what becomes of it. */
const TALK = `
import socket, sys, time
at = time.monotonic()
try:
    c = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3]))
    c.settimeout(5)
    f = c.makefile('rw')
    print('seen', f.readline().strip(), 'after', int((time.monotonic() - at) * 1000), flush=True)
    for i in range(int(sys.argv[4])):
        f.write('x' * 99 + '\\n'); f.flush()
        if f.readline() == '': raise EOFError
        if i % 10 == 0: print('alive', i, flush=True)
        time.sleep(0.05)
    print('done', flush=True)
except Exception as e: print('failed', type(e).__name__, flush=True)
`

async function create(): Promise<DetourLab> {
  const lab = await DetourLab.create()
  await lab.server.spawn(['/usr/bin/python3', '-c', ECHO]).waitLine(/^up$/)
  return lab
}

/** A flow through the detour; resolves once it is up, or has failed. */
async function talk(ns: Namespace, host: string, port: number, lines = 1, timeoutS = 0.4): Promise<{ flow: Background; first: string }> {
  const flow = ns.spawn(['/usr/bin/python3', '-c', TALK, host, String(port), String(timeoutS), String(lines)])
  return { flow, first: await flow.waitLine(/^(seen|failed)/, 10_000) }
}

const tableOf = async (lab: DetourLab) => (await lab.detour.ok(['nft', 'list', 'ruleset'])).stdout
const attribution = (path: string) =>
  readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)

// They sleep most of the time, each in a lab of its own.
t.jobs = 3
/** An object of its own for each: the runner writes into it. */
const parallel = () => ({ buffered: true })

t.test('a mapping carries flows of both families, without the addon; SIGTERM says BYE and leaves nothing', parallel(), async (t) => {
  const lab = await create()
  t.teardown(() => lab.close())
  const before = await snapshot(lab.detour)
  const alice = (await lab.keygen('alice')).keys()
  const log = join(lab.dir, 'attribution.jsonl')
  // A host with Node.js and nftables alone: the program from where there is no addon.
  const copy = join(lab.dir, 'program')
  cpSync(dirname(dirname(dirname(PROGRAM))), join(copy, 'dist'), { recursive: true, filter: (path) => !/dist\/(test|bench)/.test(path) })
  writeFileSync(join(copy, 'package.json'), '{ "type": "module", "version": "0.0.0" }')
  symlinkSync(join(dirname(PROGRAM), '../../../node_modules'), join(copy, 'node_modules'))
  t.notOk(existsSync(join(copy, 'build')), 'the addon is not there')
  const daemon = lab.detour.spawn([
    ...['node', join(copy, 'dist/src/cli/main.js'), 'detour', 'serve', '--no-config', '--keys', lab.keys],
    ...['--control', lab.control, '--attribution', log, ...ALLOW],
  ])
  await daemon.waitLine(/\bready\b/)
  const client = await RawClient.start(lab.client)
  t.teardown(() => client.close())

  const op4 = mapOp({ remote: server4, remotePort: ECHO_PORT })
  const v4 = await client.map(alice, op4)
  t.match(v4, { result: RESULT_OK, leaseS: 60, detour: parseAddress(DETOUR_ADDRESS.detour4), quotaLeft: 255 })
  const v6 = await client.map(alice, { remote: server6, remotePort: ECHO_PORT }, DETOUR_ADDRESS.detour6)
  t.match(v6, { result: RESULT_OK, detour: parseAddress(DETOUR_ADDRESS.detour6) })
  t.match((await talk(lab.client, DETOUR_ADDRESS.detour4, v4?.detourPort ?? 0)).first, `seen ${DETOUR_ADDRESS.far4}`)
  t.match((await talk(lab.client, DETOUR_ADDRESS.detour6, v6?.detourPort ?? 0)).first, 'seen fd77:0:0:2::1')
  const long = await talk(lab.client, DETOUR_ADDRESS.detour4, v4?.detourPort ?? 0, 200)
  t.match(long.first, 'seen')

  const again = await client.map(alice, { ...op4, leaseS: 3600 })
  t.match(again, { result: RESULT_OK, leaseS: 600, detourPort: v4?.detourPort, epoch: v4?.epoch }, 'a renewal, at most for --max-lease')
  t.match(await client.map(alice, { ...op4, remotePort: 1 }), { result: RESULT_CONFLICT, leaseS: 0 })
  const [pong] = (await client.ask(alice, [{ op: 'ping', echo: '0011223344556677' }])) ?? []
  t.match(pong, { op: 'pong', echo: '0011223344556677', seenAddress: parseAddress(DETOUR_ADDRESS.client4) })

  await lab.client.ip(`route add ${DETOUR_ADDRESS.server4} via ${DETOUR_ADDRESS.detour4}`)
  await lab.client.exec(['ping', '-c', '1', '-W', '0.2', DETOUR_ADDRESS.server4])
  t.match(await tableOf(lab), /nfproto ipv4 iifname @opened4 counter packets [1-9]/, 'the host does not become a router')
  await lab.detour.ip('link add later type veth peer name later2\nlink set later up')
  t.ok(await becomes(async () => /opened4 \{[^}]*"later"/.test(await tableOf(lab)), 3000), 'not for interfaces that come later either')
  await lab.detour.ip('link del later')

  t.match(await client.map(alice, { ...op4, leaseS: 0 }), { result: RESULT_OK, leaseS: 0 }, 'deleted')
  t.match((await talk(lab.client, DETOUR_ADDRESS.detour4, v4?.detourPort ?? 0)).first, 'failed', 'no new flows')
  await long.flow.waitLine(/^alive/, 5000, long.flow.lines.length)
  const status = await lab.status()
  t.equal(status.leases.length, 2)
  t.match(
    status.leases.find((lease) => lease.client === DETOUR_ADDRESS.client4),
    { key: 'alice', state: 'ended', flows: 1, destination: DETOUR_ADDRESS.server4, destinationPort: ECHO_PORT },
    'a flow outlives its mapping',
  )
  t.match(status.counters, { maps: 4, unmaps: 1, pings: 1, mappingsBegun: 2, kernelFailures: 0 })
  t.match((await lab.command('status', '--control', lab.control)).stdout, /client alice 10\.77\.1\.1: 0 mappings, 1 flows/)

  await long.flow.stop()
  t.ok(await becomes(async () => attribution(log).some((line) => line.event === 'end'), 8000), 'told once the last flow has ended')
  const from = client.received.length
  t.equal(await daemon.stop(), 0)
  t.ok(await client.next((datagram) => (openReply(alice, datagram)?.[0]?.op === 'bye' ? true : null), 1000, from), 'BYE, verifiable')
  const lines = attribution(log)
  t.match(lines.filter((line) => line.event === 'begin').length, 2)
  const [ended, stopped] = lines.filter((line) => line.event === 'end')
  t.match(ended, { key: 'alice', client: DETOUR_ADDRESS.client4, destination: DETOUR_ADDRESS.server4, reason: 'deleted' })
  t.ok(Number(ended?.bytesUp) > 1000 && Number(ended?.bytesDown) > 1000 && Number(ended?.packetsUp) > 10, 'with its bytes', { ended })
  t.match(stopped, { client: DETOUR_ADDRESS.client6, reason: 'stopped' })
  t.ok(Number(stopped?.bytesUp) > 100, 'that of IPv6 too')
  t.same(await snapshot(lab.detour), before, 'exactly as before')
  t.notMatch(daemon.lines.join('\n'), /secret|mptcp-detour:/)
})

t.test(
  'leases end in the kernel while the daemon is dead; the next start replaces the table; an early SYN waits for its lease',
  parallel(),
  async (t) => {
    const lab = await create()
    t.teardown(() => lab.close())
    const before = await snapshot(lab.detour)
    const alice = (await lab.keygen('alice')).keys()
    const daemon = await lab.serve(...ALLOW)
    const client = await RawClient.start(lab.client)
    t.teardown(() => client.close())

    const early = lab.client.spawn(['/usr/bin/python3', '-c', TALK, DETOUR_ADDRESS.detour4, '25000', '5', '1'])
    const dropped = async () => /25000|20000-29999 ct state new counter packets [1-9]/.test(await tableOf(lab))
    t.ok(await becomes(dropped, 2000), 'the SYN came before its lease')
    const mapped = await client.map(alice, { remote: server4, remotePort: ECHO_PORT, detourPort: 25_000, leaseS: 3 })
    t.match(mapped, { result: RESULT_OK, detourPort: 25_000, leaseS: 3 })
    const at = performance.now()
    t.match(await early.waitLine(/^(seen|failed)/), /^seen .* after 1\d\d\d/, 'dropped, not reset: its retransmission after 1 s connects')
    t.match(await client.map(alice, { remote: server4, remotePort: 1, detourPort: 25_000 }), { result: RESULT_NO_PORT })
    t.match(
      await client.map(alice, { remote: server4, remotePort: 1, detourPort: 25_000, flags: 1 }),
      { result: RESULT_OK },
      'unless any will do',
    )

    await daemon.stop('SIGKILL')
    const long = await talk(lab.client, DETOUR_ADDRESS.detour4, 25_000, 200)
    t.match(long.first, 'seen', 'the lease holds without the daemon')
    await sleep(Math.max(0, at + 3300 - performance.now()))
    t.match((await talk(lab.client, DETOUR_ADDRESS.detour4, 25_000)).first, 'failed', 'and ends without it')
    await long.flow.waitLine(/^alive/, 5000, long.flow.lines.length)
    t.match(await tableOf(lab), 'mptcpd_detour', 'control: the table is still there')

    const next = await lab.serve(...ALLOW)
    t.notMatch(await tableOf(lab), ' : 10.77', 'no mapping is left')
    const renewed = await client.map(alice, { remote: server4, remotePort: ECHO_PORT })
    t.not(renewed?.epoch, mapped?.epoch, 'another epoch')
    t.match((await talk(lab.client, DETOUR_ADDRESS.detour4, renewed?.detourPort ?? 0)).first, 'seen')
    await lab.detour.ok(['nft', 'flush', 'ruleset'])
    t.ok(await becomes(async () => (await lab.status()).counters.tablesLost === 1, 2000), 'a foreign flush is noticed')
    t.match((await talk(lab.client, DETOUR_ADDRESS.detour4, renewed?.detourPort ?? 0)).first, 'seen', 'and mended')
    const mended = await client.map(alice, { remote: server4, remotePort: 1 })
    t.not(mended?.epoch, renewed?.epoch, 'the epoch tells the client')
    await long.flow.stop()
    t.equal(await next.stop(), 0)
    t.same(await snapshot(lab.detour), before, 'what the killed one switched on is off, too')
  },
)

t.test('keys are live: a new one works without restart, a revoked one loses its flows; rules and quotas hold', parallel(), async (t) => {
  const lab = await create()
  t.teardown(() => lab.close())
  const alice = (await lab.keygen('alice')).keys()
  const daemon = await lab.serve(...ALLOW, '--rate-per-key', '50', '--flows-per-key', '2')
  const client = await RawClient.start(lab.client)
  t.teardown(() => client.close())
  const bob = (await lab.keygen('bob', '--quota-leases', '2', '--ports', String(ECHO_PORT), '80')).keys()
  await daemon.waitLine(/key file read/)

  const ofAlice = await client.map(alice, { remote: server4, remotePort: ECHO_PORT })
  const ofBob = await client.map(bob, { remote: server4, remotePort: ECHO_PORT })
  t.match([ofAlice, ofBob], [{ result: RESULT_OK }, { result: RESULT_OK, quotaLeft: 1 }])
  const flows = [
    await talk(lab.client, DETOUR_ADDRESS.detour4, ofAlice?.detourPort ?? 0, 300),
    await talk(lab.client, DETOUR_ADDRESS.detour4, ofBob?.detourPort ?? 0, 300),
  ]
  t.match(
    flows.map(({ first }) => first),
    [/seen/, /seen/],
  )
  const second = await talk(lab.client, DETOUR_ADDRESS.detour4, ofAlice?.detourPort ?? 0, 300)
  t.match(second.first, 'seen')
  t.match((await talk(lab.client, DETOUR_ADDRESS.detour4, ofAlice?.detourPort ?? 0)).first, 'failed', 'a third flow is one too many')

  t.match(await client.map(bob, { remote: server4, remotePort: 81 }), { result: RESULT_DENIED }, 'not a port of his')
  t.match(await client.map(bob, { remote: server4, remotePort: 80 }), { result: RESULT_OK, quotaLeft: 0 })
  t.match(await client.map(bob, { remote: server4, remotePort: 80 }), { result: RESULT_QUOTA })
  for (const text of ['10.0.0.1', '127.0.0.1', DETOUR_ADDRESS.detour4, DETOUR_ADDRESS.far4, '169.254.169.254', '224.0.0.1', '0.0.0.0'])
    t.match(await client.map(alice, { remote: parseAddress(text) }), { result: RESULT_DENIED, leaseS: 0 }, text)
  for (const text of ['::1', 'fe80::1', 'ff02::1', '::', '2002:a00:1::1', '64:ff9b::10.0.0.1', 'fd77:0:0:1::2', '::10.77.2.2', 'fd00::1'])
    t.match(await client.map(alice, { remote: parseAddress(text) }, DETOUR_ADDRESS.detour6), { result: RESULT_DENIED }, text)

  t.equal((await lab.command('revoke', 'bob', '--keys', lab.keys)).code, 0)
  t.match(await flows[1]?.flow.waitLine(/^(failed|done)/, 3000), 'failed ConnectionResetError', 'reset at once')
  const from = client.received.length
  client.send(sealRequest(bob, client.nonce(), [mapOp({ remote: server4, remotePort: ECHO_PORT })]) as Buffer)
  t.match(await client.map(alice, { remote: server4, remotePort: 82 }), { result: RESULT_OK })
  t.equal(client.received.length, from + 1, 'nobody answers a revoked key')
  t.match((await talk(lab.client, DETOUR_ADDRESS.detour4, ofBob?.detourPort ?? 0)).first, 'failed')
  await flows[0]?.flow.waitLine(/^alive/, 5000, flows[0].flow.lines.length)
  for (const { flow } of [...flows, second]) await flow.stop()
  t.equal(await daemon.stop(), 0)
})

t.test('what is forged, replayed, truncated, reflected or of another time makes nothing and gets nothing', parallel(), async (t) => {
  const lab = await create()
  t.teardown(() => lab.close())
  const alice = (await lab.keygen('alice')).keys()
  const startedAt = Date.now()
  const daemon = await lab.serve(...ALLOW)
  const client = await RawClient.start(lab.client)
  t.teardown(() => client.close())
  const op = mapOp({ remote: server4, remotePort: ECHO_PORT })
  const good = sealRequest(alice, client.nonce(), [op]) as Buffer
  client.send(good)
  const reply = await client.next((datagram) => (openReply(alice, datagram) === null ? null : datagram))
  t.ok(reply !== null && reply.length <= good.length, 'control: the original is answered, no longer than it was')

  const fresh = () => sealRequest(alice, client.nonce(), [mapOp({ remote: server4 })]) as Buffer
  const never = fresh()
  const changed = (at: number) => Buffer.from(never.map((byte, i) => (i === at ? byte ^ 1 : byte)))
  const bad: Buffer[] = [good, good, reply as Buffer, Buffer.alloc(0), Buffer.from([2]), Buffer.alloc(104, 2), Buffer.alloc(1400, 2)]
  for (let at = 0; at < never.length; at++) bad.push(changed(at))
  for (let len = 1; len < 104; len += 6) bad.push(fresh().subarray(0, len))
  bad.push(Buffer.concat([fresh(), Buffer.alloc(64)]))
  bad.push(encodeV1({ op: V1_REQUEST, remote: server4, remotePort: ECHO_PORT, detourPort: 0 }))
  for (const datagram of bad) client.send(datagram)
  t.match(await client.map(alice, op), { result: RESULT_OK }, 'control: it goes on to answer')
  t.equal(client.received.length, 2, 'and has answered nothing else')
  const { counters, leases } = await lab.status()
  t.equal(leases.length, 1)
  t.ok(
    (counters.forged ?? 0) > 80 && (counters.replayed ?? 0) === 2 && (counters.malformed ?? 0) > 20 && (counters.unknownKey ?? 0) >= 8,
    'each was seen',
    counters,
  )
  t.ok((counters.sentBytes ?? 0) <= (counters.receivedBytes ?? 0))

  for (const at of [-40_000, 40_000, null]) {
    const offsetMs = at ?? startedAt - Date.now() - 1000 // the last: before its start
    const wrong = client.nonce(offsetMs)
    const [time] = (await client.ask(alice, [mapOp({ remote: server4 })], DETOUR_ADDRESS.detour4, wrong)) ?? []
    t.equal(time?.op, 'time', `${offsetMs} ms wrong`)
    if (time?.op === 'time') t.ok(Math.abs(time.timeUs / 1000 - Date.now()) < 1000, "the daemon's clock")
    t.equal(await client.ask(alice, [mapOp({ remote: server4 })], DETOUR_ADDRESS.detour4, wrong, 300), null, 'once')
  }
  t.equal((await lab.status()).leases.length, 1, 'nothing was made')
  t.equal(await daemon.stop(), 0)
})

t.test('version 1, byte for byte, for those who may; a key file that others may read is refused', parallel(), async (t) => {
  const lab = await create()
  t.teardown(() => lab.close())
  await lab.keygen('alice')
  const daemon = await lab.serve(...ALLOW, '--allow-v1', `${DETOUR_ADDRESS.client4}/32`)
  const client = await RawClient.start(lab.client)
  t.teardown(() => client.close())
  const port = ECHO_PORT.toString(16).padStart(4, '0')
  const ask = async (hex: string): Promise<string | null> => {
    const from = client.received.length
    client.send(Buffer.from(hex, 'hex'))
    return client.next((datagram) => datagram.toString('hex'), 500, from)
  }
  const first = await ask(`01000000 0a4d0202 ${port}5000`.replaceAll(' ', ''))
  t.match(first, new RegExp(`^010100000a4d0202${port}[0-9a-f]{4}$`))
  const granted = Number.parseInt(first?.slice(-4) ?? '0', 16)
  t.ok(granted >= 20_000 && granted <= 29_999)
  t.equal(await ask(`01000000 0a4d0202 ${port}0000`.replaceAll(' ', '')), first, 'asked again: the same port')
  t.match((await talk(lab.client, DETOUR_ADDRESS.detour4, granted)).first, 'seen')
  t.equal(await ask('0100000008080808005000'), null, 'one byte short')
  t.equal(await ask('010100000a4d020223280000'), null, 'a response is not answered')
  t.equal(await ask('010000000a00000100500000'), null, 'a denied destination')
  await lab.client.ip(`addr del ${DETOUR_ADDRESS.client4}/24 dev eth0`)
  t.equal(await ask(`010000000a4d0202${port}0000`), null, 'from another network')
  t.equal((await lab.status()).leases.length, 1)
  t.equal(await daemon.stop(), 0)

  await lab.detour.ok(['chmod', '0640', lab.keys])
  const refused = await lab.command('serve', '--no-config', '--keys', lab.keys, '--control', lab.control)
  t.equal(refused.code, 2)
  t.match(refused.stderr, `chmod 0600 ${lab.keys}`)
  t.equal((await lab.command('serve', '--max-lease', '0')).code, 2)
  const weak = await lab.detour.exec([
    'setpriv',
    '--bounding-set',
    '-net_admin',
    '--inh-caps',
    '-net_admin',
    'node',
    PROGRAM,
    'detour',
    'serve',
    '--no-config',
  ])
  t.equal(weak.code, 4)
  t.match(weak.stderr, 'CAP_NET_ADMIN')
})
