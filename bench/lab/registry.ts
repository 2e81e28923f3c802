import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { MptcpError } from '../../src/base/errors.js'
import { removeNamespaces } from './namespaces.js'

const LAB_DIR = '/run/mptcpd-lab'
const NAME = /^[a-z0-9][a-z0-9-]{0,30}$/

/** What is written down about a laboratory before anything of it is made. */
export interface LabRecord {
  readonly name: string
  /** The emulator's process; with its start time, because process ids are used again. */
  readonly pid: number
  readonly startTicks: number
  readonly file: string
  readonly nodes: readonly string[]
  readonly namespaces: readonly string[]
}

export function controlPathOf(name: string): string {
  return join(LAB_DIR, `${name}.sock`)
}

export function logPathOf(name: string): string {
  return join(LAB_DIR, `${name}.log`)
}

/** @throws {MptcpError} ERR_LAB_NAME */
export function checkName(name: string): void {
  if (!NAME.test(name)) throw new MptcpError('ERR_LAB_NAME', `'${name}' is no name of a laboratory: up to 31 of a-z, 0-9 and -`)
}

export function makeLabDir(): void {
  mkdirSync(LAB_DIR, { recursive: true, mode: 0o755 })
}

/** Takes the name, for this process. @throws {MptcpError} ERR_LAB_EXISTS */
export function register(record: Omit<LabRecord, 'pid' | 'startTicks'>): void {
  checkName(record.name)
  makeLabDir()
  const own: LabRecord = { ...record, pid: process.pid, startTicks: startTicksOf(process.pid) ?? 0 }
  try {
    writeFileSync(recordPath(record.name), JSON.stringify(own), { flag: 'wx' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    throw new MptcpError('ERR_LAB_EXISTS', `laboratory '${record.name}' is up already: lab down, or another --name`)
  }
}

/** All laboratories that are written down, living or not. */
export function records(): LabRecord[] {
  let files: string[]
  try {
    files = readdirSync(LAB_DIR)
  } catch {
    return []
  }
  return files.filter((file) => file.endsWith('.json')).flatMap((file) => readRecord(join(LAB_DIR, file)) ?? [])
}

export function isAlive({ pid, startTicks }: LabRecord): boolean {
  return startTicksOf(pid) === startTicks
}

/** Removes everything of a laboratory whose emulator is gone, or is this process. */
export async function remove(record: LabRecord): Promise<void> {
  await removeNamespaces(record.namespaces)
  removeFiles(record.name)
}

/** Removes what the failed start of a laboratory left, unless another one of that name is up. */
export function removeFailed(name: string): void {
  if (!existsSync(recordPath(name))) removeFiles(name)
}

function removeFiles(name: string): void {
  for (const path of [controlPathOf(name), logPathOf(name), recordPath(name)]) rmSync(path, { force: true })
  try {
    rmdirSync(LAB_DIR)
  } catch {
    // Others are up.
  }
}

/** Removes the laboratories whose emulator was killed; returns their names. */
export async function removeLeftovers(): Promise<string[]> {
  const dead = records().filter((record) => !isAlive(record))
  for (const record of dead) await remove(record)
  return dead.map(({ name }) => name)
}

/** The laboratory of that name; without one the only one that is up. @throws {MptcpError} ERR_LAB_DOWN */
export function findLab(name: string | null): LabRecord {
  const living = records().filter(isAlive)
  const found = name === null ? living : living.filter((record) => record.name === name)
  const [only] = found
  if (only === undefined) throw new MptcpError('ERR_LAB_DOWN', name === null ? 'no laboratory is up' : `no laboratory '${name}' is up`)
  if (found.length > 1) throw new MptcpError('ERR_LAB_DOWN', `several are up, give --name: ${found.map((lab) => lab.name).join(', ')}`)
  return only
}

function recordPath(name: string): string {
  return join(LAB_DIR, `${name}.json`)
}

function readRecord(path: string): LabRecord | null {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as LabRecord
  } catch {
    return null // just removed, or just being written
  }
}

/** proc(5), field 22 of stat: clock ticks from boot to the start of the process; null when there is none (a zombie counts as none). */
function startTicksOf(pid: number): number | null {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []
    return fields[0] === 'Z' ? null : Number(fields[19])
  } catch {
    return null
  }
}
