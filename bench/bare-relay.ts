import { fileURLToPath } from 'node:url'
import type { Background } from '../test/e2e/lib/exec.js'
import { ADDRESS, CLIENT_DEVICES, type Lab } from '../test/e2e/lib/lab.js'

const PROGRAM = fileURLToPath(new URL('relay-node.ts', import.meta.url))

/** Starts bench/relay-node.ts in the client's namespace, with the routes and the masquerade of the product's own path. */
export async function startBareRelay(lab: Lab): Promise<Background> {
  const { client } = lab
  const relay = client.spawn(['node', '--import', 'tsx', PROGRAM])
  await relay.waitLine(/^ready$/)
  await client.ip(`addr add 198.18.0.1/29 dev tun0
    link set tun0 mtu 65535 txqueuelen 5000 up
    route add default via ${ADDRESS.serverLink4[0]} dev ${CLIENT_DEVICES[0]} table 7700
    route add 198.18.0.0/29 dev tun0 table 7700
    route add default dev tun0 src 198.18.0.1 table 7701 congctl cubic
    rule add pref 7700 iif tun0 lookup 7700
    rule add pref 7710 from 198.18.0.1 lookup 7701
    route add ${ADDRESS.serverPrefix4} dev tun0 congctl cubic`)
  await client.ok(['sysctl', '-qw', 'net.ipv4.conf.tun0.forwarding=1', `net.ipv4.conf.${CLIENT_DEVICES[0]}.forwarding=1`])
  await client.ok(['nft', '-f', '-'], {
    input: `table ip relay {
      chain post { type nat hook postrouting priority srcnat; ip saddr 198.18.0.0/29 oifname != "tun0" masquerade; }
    }\n`,
  })
  return relay
}
