import { fileURLToPath } from 'node:url'
import type { Background } from './exec.js'
import type { Namespace } from './lab.js'

const NET = fileURLToPath(new URL('net.py', import.meta.url))
const PYTHON = '/usr/bin/python3'

/** Ports of the small peers. */
export const UDP_PORT = 53
export const INBOUND_PORT = 8022

/** Runs a command of net.py; the last object that it prints. */
export async function net(ns: Namespace, ...words: (string | number)[]): Promise<Record<string, unknown>> {
  const { stdout } = await ns.ok([PYTHON, NET, ...words.map(String)], { timeoutMs: 15_000 })
  return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Record<string, unknown>
}

/** Starts a command of net.py that runs on. */
export async function spawnNet(ns: Namespace, ready: string, ...words: (string | number)[]): Promise<Background> {
  const process = ns.spawn([PYTHON, NET, ...words.map(String)])
  await process.waitLine((line) => line.includes(`"event": "${ready}"`))
  return process
}

/** Whether one ping is answered. */
export async function pings(ns: Namespace, host: string, ...flags: string[]): Promise<boolean> {
  return (await ns.exec(['ping', '-c', '1', '-W', '2', ...flags, host])).code === 0
}
