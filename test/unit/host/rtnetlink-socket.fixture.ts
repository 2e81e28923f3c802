/** Runs in a network namespace of its own: what the addon's socket hears of `ip` commands, on the main thread and in a worker. */
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { type Change, GROUPS, parseChanges, watchChanges } from '../../../src/host/rtnetlink.js'
import { native } from '../../../src/tun/native.js'

const sh = (command: string) => execFileSync('sh', ['-c', command], { encoding: 'utf8' })

const CHANGES = `ip addr add 10.7.0.1/24 dev v0; ip route add 10.8.0.0/16 via 10.7.0.9 metric 7; ip route del 10.8.0.0/16 metric 7
ip route add default dev v0 table 7700 proto 119; ip route flush table 7700; ip rule add pref 7700 iif v0 lookup 7700 protocol 119
ip rule del pref 7700; sysctl -qw net.ipv4.conf.v0.forwarding=1; ip -6 route add 2001:db8::/32 dev v0; ip link set v1 down`

const nameOf = (index: number): string | null => (index === Number(sh('cat /sys/class/net/v0/ifindex')) ? 'v0' : null)
const pause = () => new Promise((resolve) => setTimeout(resolve, 100))

async function listen(): Promise<Change[]> {
  const heard: Change[] = []
  const source = watchChanges(
    native(),
    nameOf,
    (changes) => heard.push(...changes),
    () => {},
  )
  sh(CHANGES)
  await pause()
  source.close()
  return heard
}

/** The same in a worker, which hands over what it read. */
async function listenInWorker(): Promise<Change[]> {
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads')
     const { Rtnetlink } = require(workerData.addon)
     const bytes = new Uint8Array(65536)
     const socket = new Rtnetlink(workerData.groups, () => {
       for (let len = socket.read(bytes); len > 0; len = socket.read(bytes)) parentPort.postMessage(bytes.slice(0, len))
     })
     parentPort.postMessage('ready')`,
    { eval: true, workerData: { addon: fileURLToPath(new URL('../../../build/Release/mptcpnet.node', import.meta.url)), groups: GROUPS } },
  )
  await once(worker, 'message')
  const heard: Change[] = []
  worker.on('message', (bytes: Uint8Array) => heard.push(...parseChanges(bytes, bytes.length, nameOf)))
  sh(CHANGES)
  await pause()
  await worker.terminate()
  return heard
}

const setUp = 'ip link set lo up; ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up'
sh(`mount -t sysfs none /sys; ${setUp}`)
const main = await listen()
sh(`ip link del v0; ${setUp}`)
process.stdout.write(JSON.stringify({ main, worker: await listenInWorker(), cookie: native().netnsCookie() }))
