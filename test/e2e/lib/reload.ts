import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { ask, controlPath } from '../../../src/engine/control.js'
import type { Status } from '../../../src/engine/status.js'
import { Daemon } from './daemon.js'
import { ADDRESS, type Lab } from './lab.js'
import { PORT } from './peers.js'
import { PAYLOAD_LEN, payloadSha256 } from './payload.js'

export interface ReloadResult {
  readonly isByteExact: boolean
  /** Downloads that were finished meanwhile. */
  readonly downloads: number
  readonly signals: number
  readonly reloaded: number
  readonly refused: number
  /** Connections of the applications that were reset. */
  readonly resets: number
  readonly exitCode: number | null
}

/** Files by turns: valid ones that change something each time, and ones with every kind of mistake. */
const FILES: readonly ((i: number) => string)[] = [
  () => 'paths = ["wan2"]\n',
  () => 'paths = ["wan2"\n',
  (i) => `held-connects = ${1000 + i}\nchecksum = ${i % 2 === 0}\n`,
  () => 'no-such-key = 1\n',
  (i) => `paths = ["wan2"]\nsend-buffer = ${1_000_000 + i}\nlog = "debug"\n`,
  () => 'memory = "much"\n',
  () => '',
  () => 'paths = ["nowhere0"]\n',
]

/** Sends `count` SIGHUPs, each after a new file was written and the one before was dealt with, while curl downloads. The servers run already. */
export async function reloadUnderLoad(lab: Lab, count: number): Promise<ReloadResult> {
  const file = `${lab.dir}/reload.toml`
  writeFileSync(file, '')
  const daemon = await Daemon.start(lab, { args: ['--config', file] })
  const url = `http://${ADDRESS.server4}:${PORT.http}/bytes/${PAYLOAD_LEN}`
  let isDone = false
  let downloads = 0
  let isByteExact = true
  const load = (async () => {
    while (!isDone) {
      const { code, stdout } = await lab.client.exec(['sh', '-c', `curl -sS --fail --noproxy '*' --limit-rate 40M ${url} | sha256sum`])
      if (code !== 0 || !stdout.startsWith(payloadSha256(PAYLOAD_LEN))) isByteExact = false
      downloads++
    }
  })()
  const dealtWith = async () => {
    const { daemon: info } = (await ask(controlPath(daemon.tun), 'status')) as Status
    return (info?.reloads ?? 0) + (info?.failedReloads ?? 0)
  }
  for (let i = 0; i < count; i++) {
    writeFileSync(file, (FILES[i % FILES.length] as (i: number) => string)(i))
    daemon.process.kill('SIGHUP')
    while ((await dealtWith()) <= i) await sleep(2)
  }
  isDone = true
  await load
  const counters = await daemon.counters()
  const { daemon: info } = await daemon.status()
  const exitCode = await daemon.stop()
  return {
    isByteExact,
    downloads,
    signals: count,
    reloaded: info?.reloads ?? 0,
    refused: info?.failedReloads ?? 0,
    resets: (counters.get('EngineRelayResetByServer') ?? 0) + (counters.get('EngineRelayResetByApplication') ?? 0),
    exitCode,
  }
}
