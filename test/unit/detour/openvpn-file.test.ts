import t from 'tap'
import { parseVpnFile, readVpnFile } from '../../../src/detour/openvpn-file.js'

const MINIMAL = 'client\ndev tun\nproto udp\nremote 192.0.2.7 1194\nca ca.crt\n'
const parse = (text: string, allowScripts = false) => parseVpnFile('/etc/x.ovpn', text, allowScripts)

t.test('what would touch the host is left out, everything else stays where it was', (t) => {
  const file = parse(
    `${MINIMAL}user nobody\nmanagement /tmp/s unix\n  --log /var/log/x\n; up is a comment\n<ca>\nuser up\nup x\n</ca>\ncipher AES-256-GCM\n`,
  )
  t.same(file.text.split('\n'), [
    'client',
    '# dev',
    'proto udp',
    'remote 192.0.2.7 1194',
    'ca ca.crt',
    '# user',
    '# management',
    '# log',
    '; up is a comment',
    '<ca>',
    'user up',
    'up x',
    '</ca>',
    'cipher AES-256-GCM',
    '',
    '',
  ])
  t.end()
})

t.test('a file that runs programs is refused, unless that is allowed', (t) => {
  for (const line of ['up /etc/openvpn/update-resolv-conf', '--down x', 'plugin x.so', '\ttls-verify x']) {
    t.throws(() => parse(`${MINIMAL}${line}\n`), {
      code: 'ERR_DETOUR_FILE',
      message: /^\/etc\/x\.ovpn:6: '[\w-]+' runs a program as root: .*scripts = true/,
    })
    t.ok(parse(`${MINIMAL}${line}\n`, true).text.includes(line), 'control')
  }
  t.end()
})

t.test('what is no .ovpn file of a client is named', (t) => {
  const wrong = (text: string, message: RegExp) => t.throws(() => parse(text), { code: 'ERR_DETOUR_FILE', message })
  wrong('', /names no server/)
  wrong('{"json": true}', /names no server/)
  wrong(`${MINIMAL}server 10.8.0.0 255.255.255.0\n`, /:6: 'server' makes it a server's/)
  wrong(`${MINIMAL}config other.conf\n`, /would read another file/)
  wrong('\0ELF', /is not text/)
  wrong(MINIMAL.replace('dev tun', 'dev tap0'), /bridge/)
  t.ok(parse('client\n<connection>\nremote 192.0.2.7 1194\n</connection>\n'), 'the server may stand in a block')
  t.throws(() => readVpnFile('/nowhere/x.ovpn', false), {
    code: 'ERR_DETOUR_FILE',
    message: /^\/nowhere\/x\.ovpn: there is no such file: /,
  })
  t.throws(() => readVpnFile('/etc', false), { code: 'ERR_DETOUR_FILE', message: /directory/ })
  t.end()
})

t.test('the room that a packet needs: as measured without cipher, else by what the file admits', (t) => {
  const overhead = (more: string) => parse(`${MINIMAL}${more}`).overhead
  t.equal(overhead('data-ciphers none\nauth none\n'), 36)
  t.equal(overhead(''), 52, 'AES-GCM')
  t.equal(overhead('data-ciphers AES-256-GCM:CHACHA20-POLY1305\n'), 52)
  t.ok(overhead('data-ciphers AES-256-GCM:AES-256-CBC\n') >= 36 + 16 + 16 + 20)
  t.equal(overhead('data-ciphers none\nauth none\nproto udp6\n'), 56)
  t.ok(overhead('data-ciphers none\nauth none\nproto tcp-client\n') >= 36 + 14)
  t.end()
})
