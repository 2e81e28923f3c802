import type { Test } from 'tap'
import { execOk } from './exec.js'
import { ADDRESS, type Lab, Namespace } from './lab.js'

/** Addresses of the detour's two links. */
export const DETOUR = {
  /** Towards the client, and the client's end. */
  near: '10.99.3.2',
  client: '10.99.3.1',
  /** Towards the server, and the server's end. */
  far: '10.99.4.1',
  server: '10.99.4.2',
  far6: 'fd99:0:0:4::1',
  server6: 'fd99:0:0:4::2',
} as const

/** Devices of those links in the client's and in the server's namespace. */
export const CLIENT_DETOUR_DEVICE = 'wan3'
export const SERVER_DETOUR_DEVICE = 'net3'

/**
 * A third host beside the lab's two, with a link to each of them and a route to the server's addresses; towards the server with IPv6:
 *
 *     client  wan3 10.99.3.1 === 10.99.3.2 near0  detour  far0 10.99.4.1 === 10.99.4.2 net3  server
 */
export async function addDetourHost(t: Pick<Test, 'teardown'>, lab: Lab): Promise<Namespace> {
  // The name of a lab's namespace, so that what a killed run left is removed with it.
  const host = new Namespace(lab.client.name.replace(/client$/, 'detour'))
  await execOk(['ip', 'netns', 'add', host.name])
  t.teardown(async () => {
    const { stdout } = await execOk(['ip', 'netns', 'pids', host.name])
    for (const pid of stdout.split('\n').filter(Boolean)) {
      try {
        process.kill(Number(pid), 'SIGKILL')
      } catch {
        // It ended in between.
      }
    }
    await execOk(['ip', 'netns', 'del', host.name])
  })
  const off = ['ipv4.conf.all.rp_filter', 'ipv4.conf.default.rp_filter', 'ipv6.conf.default.accept_dad']
  await host.ok(['sysctl', '-qw', ...off.map((key) => `net.${key}=0`)])
  await lab.client.ip(`link add ${CLIENT_DETOUR_DEVICE} type veth peer name near0 netns ${host.name}
    addr add ${DETOUR.client}/24 dev ${CLIENT_DETOUR_DEVICE}
    link set ${CLIENT_DETOUR_DEVICE} up`)
  await lab.server.ip(`link add ${SERVER_DETOUR_DEVICE} type veth peer name far0 netns ${host.name}
    addr add ${DETOUR.server}/24 dev ${SERVER_DETOUR_DEVICE} noprefixroute
    addr add ${DETOUR.server6}/64 dev ${SERVER_DETOUR_DEVICE} nodad
    link set ${SERVER_DETOUR_DEVICE} up
    route add 10.99.4.0/24 dev ${SERVER_DETOUR_DEVICE} congctl cubic`)
  await host.ip(`link set lo up
    addr add ${DETOUR.near}/24 dev near0
    addr add ${DETOUR.far}/24 dev far0
    addr add ${DETOUR.far6}/64 dev far0 nodad
    link set near0 up
    link set far0 up
    route add ${ADDRESS.serverPrefix4} via ${DETOUR.server}`)
  await host.ip(`route add ${ADDRESS.serverPrefix6} via ${DETOUR.server6}`, 6)
  return host
}

/** Makes the server's links towards the client and towards the detour as slow as `mbit` Mbit/s each, so that both are needed. */
export async function slowDownloads(lab: Lab, mbit: number): Promise<void> {
  for (const device of ['net1', SERVER_DETOUR_DEVICE])
    await lab.server.ok(['tc', 'qdisc', 'add', 'dev', device, 'root', 'tbf', 'rate', `${mbit}mbit`, 'burst', '64kb', 'latency', '50ms'])
}
