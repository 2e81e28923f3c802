/**
 * The real-time messages of openvpn's management interface (its management-notes.txt), as the client's end of the dialogue sees them:
 *
 *     <- >HOLD:Waiting for hold release:0          -> state on / bytecount 5 / log off / hold release
 *     <- >STATE:t,WAIT  >STATE:t,AUTH
 *     <- >UPDOWN:UP, >UPDOWN:ENV,name=value ..., >UPDOWN:ENV,END
 *     <- >STATE:t,CONNECTED,SUCCESS,10.8.0.2,192.0.2.7,1194,,
 */

/** What openvpn says. */
export type VpnEvent =
  /** It waits for leave to go on; `waitS`: how long it would wait by itself. */
  | { readonly kind: 'hold'; readonly waitS: number }
  /** CONNECTING, WAIT, AUTH, GET_CONFIG, ASSIGN_IP, ADD_ROUTES, CONNECTED, RECONNECTING, EXITING, ... `detail`: SUCCESS, or the reason. */
  | { readonly kind: 'state'; readonly state: string; readonly detail: string }
  /** Its device was opened (or is about to be closed), with the environment that a script would get. */
  | { readonly kind: 'up' | 'down'; readonly env: ReadonlyMap<string, string> }
  /** It wants a password that we do not have. */
  | { readonly kind: 'password'; readonly what: string }
  /** The server, or a key's file, refused the password. */
  | { readonly kind: 'refused'; readonly what: string }
  | { readonly kind: 'bytes'; readonly received: number; readonly sent: number }
  /** It is about to end. */
  | { readonly kind: 'fatal'; readonly text: string }
  /** One of our commands failed. */
  | { readonly kind: 'error'; readonly text: string }

/** A line, or the lines of one environment, longer than this are not its. */
const MAX_LINE = 16 << 10
const MAX_ENV = 1000

/** What is answered to a hold: reports, then leave to go on. `log off`: the text goes to its standard output anyway. */
export const RELEASE: readonly string[] = ['state on', 'bytecount 5', 'log off', 'hold release']

/** Cuts what the management socket says into events. Never throws; what is not understood is passed over. */
export class ManagementReader {
  private rest = ''
  private upDown: 'up' | 'down' = 'up'
  private env = new Map<string, string>()

  /** @param text the next piece, cut anywhere */
  read(text: string): VpnEvent[] {
    const lines = (this.rest + text).split('\n')
    this.rest = (lines.pop() ?? '').slice(0, MAX_LINE)
    return lines.flatMap((line) => this.event(line.trimEnd()) ?? [])
  }

  private event(line: string): VpnEvent | null {
    const match = /^>([A-Z_]+):(.*)$/.exec(line)
    if (match === null) return line.startsWith('ERROR:') ? { kind: 'error', text: line.slice('ERROR:'.length).trim() } : null
    const [, type = '', rest = ''] = match
    if (type === 'HOLD') return { kind: 'hold', waitS: Number(/:(\d{1,6})$/.exec(rest)?.[1] ?? 0) }
    if (type === 'FATAL') return { kind: 'fatal', text: rest }
    if (type === 'STATE') {
      const [, state = '', detail = ''] = rest.split(',')
      return { kind: 'state', state, detail }
    }
    if (type === 'BYTECOUNT') {
      const [received = 0, sent = 0] = rest.split(',').map(Number)
      return Number.isFinite(received) && Number.isFinite(sent) ? { kind: 'bytes', received, sent } : null
    }
    if (type === 'PASSWORD') {
      const what = /'([^']*)'/.exec(rest)?.[1] ?? rest
      if (rest.startsWith('Need')) return { kind: 'password', what }
      return rest.startsWith('Verification Failed') ? { kind: 'refused', what } : null
    }
    return type === 'UPDOWN' ? this.environment(rest) : null
  }

  private environment(rest: string): VpnEvent | null {
    if (rest === 'UP' || rest === 'DOWN') {
      this.upDown = rest === 'UP' ? 'up' : 'down'
      this.env = new Map()
      return null
    }
    if (!rest.startsWith('ENV,')) return null
    const pair = rest.slice('ENV,'.length)
    if (pair === 'END') return { kind: this.upDown, env: this.env }
    const at = pair.indexOf('=')
    if (at > 0 && this.env.size < MAX_ENV) this.env.set(pair.slice(0, at), pair.slice(at + 1))
    return null
  }
}

/** What the device is to be given, of the environment of an `up` event. */
export interface VpnAddresses {
  readonly address4: string | null
  readonly address6: string | null
  /** MTU that both ends agreed on, 0: not said. */
  readonly mtu: number
}

/** Addresses are taken from the server: only what looks like one. */
export function addressesOf(env: ReadonlyMap<string, string>): VpnAddresses {
  const address = (name: string, form: RegExp): string | null => {
    const value = env.get(name) ?? ''
    return form.test(value) ? value : null
  }
  const mtu = Number(env.get('tun_mtu') ?? 0)
  return {
    address4: address('ifconfig_local', /^\d{1,3}(\.\d{1,3}){3}$/),
    address6: address('ifconfig_ipv6_local', /^[\da-f:]{2,39}$/i),
    mtu: Number.isInteger(mtu) && mtu >= 576 && mtu <= 65_535 ? mtu : 0,
  }
}

/**
 * The line of openvpn's output that says best what went wrong: its own words, without time stamp. null: nothing of interest.
 */
export function complaintOf(line: string): string | null {
  const text = line.replace(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d /, '').trim()
  if (!/error|fail|cannot|refused|unable|timeout|timed out|expired|unreachable|options? error|no such|denied|verify/i.test(text))
    return null
  if (/^(VERIFY (OK|KU OK|EKU OK)|Note:|OPTIONS IMPORT|MANAGEMENT:|\+\+ |Validating|event_wait)/.test(text)) return null
  return text.slice(0, 300)
}
