import type { IpAddress } from '../base/address.js'
import { MptcpError } from '../base/errors.js'
import { parseAddress } from './address-text.js'

const FORM = /^(?:\[(?<v6>[^\]]+)\]|(?<v4>[^\s:[\]]+)|(?<bare>[\da-f:.]*:[\da-f:.]*:[\da-f:.]*))(?::(?<port>\d{1,5}))?$/i

/** `192.0.2.7:443`, `[2001:db8::7]:443`; without port: 0. @throws {MptcpError} ERR_ADDRESS */
export function parseEndpoint(text: string): { readonly address: IpAddress; readonly port: number } {
  const groups = FORM.exec(text)?.groups
  const port = groups?.port === undefined ? 0 : Number(groups.port)
  if (groups === undefined || port > 65_535 || (groups.port !== undefined && port === 0))
    throw new MptcpError('ERR_ADDRESS', `'${text}' is not ADDRESS:PORT, like 192.0.2.7:443 or [2001:db8::7]:443`)
  return { address: parseAddress(groups.v6 ?? groups.v4 ?? groups.bare ?? ''), port }
}

/** Where a service is: `HOST:PORT`, a name or an address. @throws {MptcpError} ERR_ADDRESS */
export function parseTarget(text: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[(?<v6>[^\]]+)\]|(?<host>[^\s:[\]]+)):(?<port>\d{1,5})$/.exec(text)?.groups
  const port = Number(match?.port ?? 0)
  if (match === undefined || port < 1 || port > 65_535)
    throw new MptcpError('ERR_ADDRESS', `'${text}' is not HOST:PORT, like 127.0.0.1:8080`)
  return { host: match.v6 ?? match.host ?? '', port }
}
