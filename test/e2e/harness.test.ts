import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import t from 'tap'
import * as check from './lib/checks.js'
import { ADDRESS, Lab, listNamespaces, removeStale } from './lib/lab.js'
import { curlDownload, PORT, runClient, spawnClient, startServers } from './lib/peers.js'
import { PAYLOAD_LEN } from './lib/payload.js'
import { snapshot } from './lib/snapshot.js'
import { counter, errorsIn, FALLBACK_COUNTERS, linkStats, nstat, ssTcp } from './lib/stats.js'

t.test('control: kernel to kernel, the lab carries every transfer that the daemon is tested with', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const servers = await startServers(lab)
  await check.checkCurl(t, lab, servers, ADDRESS.server4, PORT.http)
  await check.checkCurl(t, lab, servers, ADDRESS.server6, PORT.httpTcp)
  await check.checkIperf(t, lab, ADDRESS.server4, 1)
  await check.checkSsh(t, lab, servers, ADDRESS.server4)
  await check.checkMany(t, lab, ADDRESS.server4, PORT.http, 200, 1_000_000)
  await check.checkConnectErrors(t, lab)
  await check.checkHalfClose(t, lab, servers, ADDRESS.server4, { halfClose: PORT.halfClose, digest: PORT.digest })
  await check.checkHalfClose(t, lab, servers, ADDRESS.server6, { halfClose: PORT.halfCloseTcp, digest: PORT.digestTcp })
  await check.checkStall(t, lab, ADDRESS.server4, PORT.http, 2, 64e6)
  await check.checkReset(t, lab, ADDRESS.server4, PORT.http)
  const counters = await nstat(lab.server)
  t.equal(counter(counters, 'MPTcpExtMPCapableSYNRX'), 0, 'the clients by themselves do not speak MPTCP')
  t.same(errorsIn(counters), {})
})

t.test('control: the counters see kernel MPTCP, a second subflow and a fallback', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  await lab.client.ip(`mptcp limits set subflows 2 add_addr_accepted 2`)
  await lab.client.ip(`mptcp endpoint add ${ADDRESS.clientLink4[1]} dev wan2 id 2 subflow`)
  await lab.client.ip(`rule add from ${ADDRESS.clientLink4[1]} lookup 2\nroute add default via ${ADDRESS.serverLink4[1]} dev wan2 table 2`)
  const { rxBytes: before } = await linkStats(lab.client, 'wan2')
  await runClient(lab.client, ['many', ADDRESS.server4, PORT.http, 1, 20_000_000], { mptcp: true })
  const { rxBytes: after } = await linkStats(lab.client, 'wan2')
  t.ok(after - before > 1_000_000, 'the second link carried bytes', { bytes: after - before })
  const counters = await nstat(lab.server)
  t.equal(counter(counters, 'MPTcpExtMPCapableACKRX'), 1)
  t.ok(counter(counters, 'MPTcpExtMPJoinAckRx') >= 1, 'the second subflow joined')
  t.same(errorsIn(counters, FALLBACK_COUNTERS), {}, 'no fallback')
  await runClient(lab.client, ['many', ADDRESS.server4, PORT.httpTcp, 1, 1000], { mptcp: true })
  const client = await nstat(lab.client)
  t.equal(counter(client, 'MPTcpExtMPCapableFallbackSYNACK'), 1, 'the client fell back to TCP where the server does not speak MPTCP')
})

t.test('congestion control is pinned in both namespaces', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await startServers(lab)
  for (const port of [PORT.http, PORT.httpTcp]) {
    const client = spawnClient(lab.client, ['stall', ADDRESS.server4, port, PAYLOAD_LEN, 10])
    await client.waitLine(/"stalled"/)
    for (const ns of [lab.client, lab.server]) {
      const text = await ssTcp(ns, ['state', 'established', `( sport = :${port} or dport = :${port} )`])
      t.match(text, /\bcubic\b/, ns.name)
      t.notMatch(text, /\bbbr\b/, ns.name)
    }
    await client.stop('SIGKILL')
  }
})

t.test('a snapshot shows every kind of leftover', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  const before = await snapshot(lab.client)
  t.same(await snapshot(lab.client), before, 'twice the same without a change')
  const changes: [string, readonly string[], readonly string[]][] = [
    ['rule', ['ip', 'rule', 'add', 'pref', '7700', 'lookup', '7700'], ['ip', 'rule', 'del', 'pref', '7700']],
    ['route', ['ip', '-6', 'route', 'add', 'unreachable', 'default', 'table', '7700'], ['ip', '-6', 'route', 'flush', 'table', '7700']],
    ['nftables', ['nft', 'add', 'table', 'inet', 'leftover'], ['nft', 'delete', 'table', 'inet', 'leftover']],
    ['device', ['ip', 'tuntap', 'add', 'tun9', 'mode', 'tun'], ['ip', 'tuntap', 'del', 'tun9', 'mode', 'tun']],
    ['sysctl', ['sysctl', '-qw', 'net.ipv4.conf.wan1.forwarding=1'], ['sysctl', '-qw', 'net.ipv4.conf.wan1.forwarding=0']],
  ]
  for (const [name, apply, undo] of changes) {
    await lab.client.ok(apply)
    t.not((await snapshot(lab.client)).join('\n'), before.join('\n'), name)
    await lab.client.ok(undo)
    t.same(await snapshot(lab.client), before, `${name} undone`)
  }
})

t.test('a lab is removed when its test ends, is interrupted, or is killed and a next one starts', async (t) => {
  const prefix = 'mptcpd-e2e-self'
  const program = `
    import { Lab } from '${new URL('lib/lab.ts', import.meta.url).pathname}'
    const lab = await Lab.create('${prefix}')
    lab.client.spawn(['sleep', '1000'])
    console.log(lab.dir)
    setInterval(() => {}, 1000)`
  const start = async () => {
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [dir] = (await once(child.stdout, 'data')) as [Buffer]
    return { child, dir: dir.toString().trim() }
  }
  const labs = (): string[] => listNamespaces().filter((name) => name.startsWith(`${prefix}-`))

  const interrupted = await start()
  t.equal(labs().length, 2, 'the lab is there')
  t.ok(existsSync(interrupted.dir))
  interrupted.child.kill('SIGINT')
  await once(interrupted.child, 'exit')
  t.same(labs(), [], 'SIGINT removes it')
  t.notOk(existsSync(interrupted.dir))

  const killed = await start()
  killed.child.kill('SIGKILL')
  await once(killed.child, 'exit')
  t.equal(labs().length, 2, 'SIGKILL leaves it')
  removeStale(prefix)
  t.same(labs(), [], 'the next run removes it')
  t.notOk(existsSync(killed.dir))
})

t.test('a command that does not end in time is killed and says what it printed', async (t) => {
  const lab = await Lab.create()
  t.teardown(() => lab.close())
  await t.rejects(lab.client.ok(['sh', '-c', 'echo hello; exec sleep 100'], { timeoutMs: 300 }), /no end within 300 ms.*\nhello/)
  await t.rejects(lab.client.ok(['false']), /exit code 1/)
  await t.rejects(curlDownload(lab.client, ADDRESS.server4, PORT.http, lab.dir, 1000), /exit code 7/, 'and a missing server is an error')
})
