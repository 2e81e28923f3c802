import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Background } from './exec.js'
import { execOk } from './exec.js'
import { DETOUR } from './detour-host.js'
import type { Namespace } from './lab.js'

/** The configuration that docs/openvpn.md shows for the detour's side. */
export const SERVER_CONF = `dev tun
topology subnet
server 10.8.0.0 255.255.255.0
proto udp
port 1194
ca ca.crt
cert server.crt
key server.key
dh none
data-ciphers none
auth none
reneg-bytes 0
keepalive 1 4
`

/** The client's side of it, likewise. @param host the detour's address */
export function clientConf(host: string): string {
  return `client
dev tun
proto udp
remote ${host} 1194
nobind
remote-cert-tls server
ca ca.crt
cert client.crt
key client.key
data-ciphers none
auth none
`
}

/** The commands that docs/openvpn.md shows for the certificates, run in `dir`. */
export const CERTIFICATES = `openssl ecparam -name prime256v1 -genkey -noout -out ca.key
openssl req -x509 -new -key ca.key -subj /CN=detours -days 3650 -out ca.crt
for name in server client; do
  openssl ecparam -name prime256v1 -genkey -noout -out $name.key
  openssl req -new -key $name.key -subj /CN=$name -out $name.csr
  printf 'keyUsage=digitalSignature\\nextendedKeyUsage=%sAuth\\n' $name > $name.ext
  openssl x509 -req -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -extfile $name.ext -out $name.crt
done
`

/** The commands that docs/openvpn.md shows for the detour's kernel. */
export const SERVER_KERNEL = `sysctl -w net.ipv4.ip_forward=1
nft add table ip vpn
nft add chain ip vpn post '{ type nat hook postrouting priority srcnat; }'
nft add rule ip vpn post ip saddr 10.8.0.0/24 masquerade
`

/** What docs/openvpn.md adds for IPv6: a line of the server's configuration, and commands. */
export const SERVER_CONF6 = 'server-ipv6 fd08::/64\n'
export const SERVER_KERNEL6 = `sysctl -w net.ipv6.conf.all.forwarding=1
nft add table ip6 vpn
nft add chain ip6 vpn post '{ type nat hook postrouting priority srcnat; }'
nft add rule ip6 vpn post ip6 saddr fd08::/64 masquerade
`

/** Certificates and both configurations in a directory of the lab. @returns the .ovpn file's path */
export async function writeVpnFiles(dir: string): Promise<string> {
  mkdirSync(dir, { recursive: true })
  await execOk(['sh', '-ec', `cd ${dir}\nexec 2>/dev/null\n${CERTIFICATES}`])
  // What a provider's file and server may say on top: none of it may reach the host.
  writeFileSync(
    join(dir, 'server.conf'),
    `${SERVER_CONF}${SERVER_CONF6}push "route 10.77.0.0 255.255.0.0"\npush "redirect-gateway def1 ipv6"\n`,
  )
  const file = join(dir, 'office.ovpn')
  writeFileSync(file, `${clientConf(DETOUR.near)}user nobody\ngroup nogroup\nredirect-gateway def1\n`)
  return file
}

/** Starts the VPN's server on the detour. */
export async function startVpnServer(host: Namespace, dir: string): Promise<Background> {
  await host.ok(['sh', '-ec', SERVER_KERNEL + SERVER_KERNEL6])
  const server = host.spawn(['openvpn', '--cd', dir, '--config', 'server.conf'])
  await server.waitLine(/Initialization Sequence Completed/)
  return server
}
