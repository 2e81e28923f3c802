import { MptcpError } from '../base/errors.js'
import type { DetourStatus } from '../detour/provider.js'
import type { ControlHandler } from '../engine/control.js'
import type { Detours } from './detours.js'
import { JSON_VERSION, type PathReply } from './json.js'

/** How long `path add` waits for what it added to work. */
const ADD_MS = 3000

/** What `mptcpd-user path` asks of the daemon. */
export function pathCommands(detours: Detours): Record<string, ControlHandler> {
  return {
    'path-add': async (args): Promise<PathReply> => {
      const name = detours.add(String(args.path))
      const settings = settingsOf(args)
      if (Object.keys(settings).length > 0) detours.set(name, settings)
      await detours.settled(name, ADD_MS)
      return { version: JSON_VERSION, detour: statusOf(detours, name) }
    },
    'path-remove': (args) => detours.remove(String(args.path)),
    'path-set': (args): PathReply => {
      const name = String(args.path)
      const settings = settingsOf(args)
      if (Object.keys(settings).length === 0) throw new MptcpError('ERR_USAGE', 'nothing to set: give --backup, --no-backup or --cost')
      detours.set(name, settings)
      return { version: JSON_VERSION, detour: statusOf(detours, name) }
    },
  }
}

function settingsOf(args: Readonly<Record<string, unknown>>): { isBackup?: boolean; cost?: number } {
  const { backup, cost } = args
  if (cost !== undefined && !(Number.isInteger(cost) && (cost as number) >= 0 && (cost as number) <= 1_000_000))
    throw new MptcpError('ERR_USAGE', 'the cost must be a whole number from 0 to 1000000')
  return {
    ...(typeof backup === 'boolean' ? { isBackup: backup } : {}),
    ...(typeof cost === 'number' ? { cost } : {}),
  }
}

function statusOf(detours: Detours, name: string): DetourStatus | null {
  return detours.status().find((detour) => detour.name === name) ?? null
}
