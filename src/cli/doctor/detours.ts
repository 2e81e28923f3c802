import type { DaemonConfig } from '../../config/daemon-config.js'
import { detourName, type DetourConfig } from '../../config/detour-config.js'
import { parseVpnFile } from '../../detour/openvpn-file.js'
import { fail, type Finding, ok, warn } from './finding.js'
import type { DoctorWorld } from './world.js'

/** One finding per detour: whether what it needs of this host is there. */
export async function detours(world: DoctorWorld, config: DaemonConfig): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const detour of config.detour) {
    const check = `detour-${detourName(detour)}`
    if (detour.type === 'openvpn') findings.push(await vpn(world, detour, check))
    else if (detour.type === 'interface') findings.push(interfaceOf(world, detour.device, check))
  }
  return findings
}

async function vpn(world: DoctorWorld, detour: DetourConfig & { readonly type: 'openvpn' }, check: string): Promise<Finding> {
  const { code, stdout } = await world.run(['openvpn', '--version'])
  if (code === -1) return fail(check, 'openvpn is not installed', 'apt-get install openvpn')
  const text = world.read(detour.file)
  if (text === null)
    return fail(check, `${detour.file} cannot be read`, 'put the .ovpn file there, owned by root, or mend file = in the [[detour]]')
  try {
    parseVpnFile(detour.file, text, detour.scripts)
  } catch (error) {
    return fail(check, error instanceof Error ? error.message : String(error), 'mend the file; docs/openvpn.md shows one that works')
  }
  return ok(check, `${/^OpenVPN [\d.]+/.exec(stdout)?.[0] ?? 'openvpn'}, ${detour.file}`)
}

function interfaceOf(world: DoctorWorld, device: string, check: string): Finding {
  if (typeof world.facts === 'string') return warn(check, `${device} could not be looked at: ${world.facts}`, 'run the doctor as root')
  const link = world.facts.links.get(device)
  if (link?.isUp === true && link.hasCarrier) return ok(check, `${device} is up, ${link.addresses.join(', ') || 'without address yet'}`)
  return warn(check, `${device} ${link === undefined ? 'is not there' : 'is down'}: its path comes with it`, `ip link set ${device} up`)
}
