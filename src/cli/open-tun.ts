import { MptcpError } from '../base/errors.js'
import { TunDevice } from '../tun/tun-device.js'
import { TUN_MTU } from './host-options.js'

/** Creates the TUN interface `name`. @throws {MptcpError} ERR_PRIVILEGE, ERR_TUN_TAKEN, ERR_TUN_MISSING */
export function openTun(name: string, onGone: () => void): TunDevice {
  try {
    return new TunDevice({ name, exclusive: true, mtu: TUN_MTU, onGone })
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    if (code === 'EPERM' || code === 'EACCES') {
      throw new MptcpError('ERR_PRIVILEGE', `opening ${name} needs CAP_NET_ADMIN and access to /dev/net/tun: run as root`, { cause: error })
    }
    if (code === 'EEXIST' || code === 'EBUSY') {
      throw new MptcpError('ERR_TUN_TAKEN', `interface ${name} exists already: stop who uses it, or choose another by --tun`, {
        cause: error,
      })
    }
    if (code === 'ENOENT') throw new MptcpError('ERR_TUN_MISSING', '/dev/net/tun does not exist: load the module tun', { cause: error })
    throw error
  }
}
