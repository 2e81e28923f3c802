import t from 'tap'
import { parseAddress } from '../../../src/config/address-text.js'
import { InterfacePaths, type InterfaceSpec } from '../../../src/detour/interface-paths.js'
import type { Egress, ProviderHost } from '../../../src/detour/provider.js'
import type { HostFacts, Link } from '../../../src/host/facts.js'
import type { Family } from '../../../src/host/numbers.js'
import { parseRoutes } from '../../../src/host/route-text.js'
import type { Path } from '../../../src/pathmgr/path.js'

const LINK: Link = { index: 5, name: 'wlan0', mtu: 1400, isUp: true, hasCarrier: true, addresses: ['192.0.2.9', 'fe80::9'] }

/** A host whose interface can be changed, and a list of what was asked of it. */
class FakeHost implements ProviderHost {
  readonly log = { info: () => {}, warn: () => {}, error: () => {} }
  readonly families: Family[] = [4, 6]
  readonly asked: string[] = []
  facts: HostFacts = factsWith(LINK)
  private ids = 10
  private sources = 3

  defaultDevices = (): string[] => []
  newPathId = (): number => ++this.ids
  takeDeviceName = (prefix: string): string => `${prefix}0`
  giveDeviceName = (): void => {}
  socketPath = (): string => ''
  run = async (): Promise<string> => ''
  repeatJoins = (): void => {}

  upsert(path: Path): void {
    this.asked.push(`upsert ${path.id} ${path.source} mtu ${path.mtu}${path.isBackup ? ' backup' : ''}`)
  }

  remove(id: number): void {
    this.asked.push(`remove ${id}`)
  }

  async openEgress(family: Family, device: string, gateway: string | null): Promise<Egress> {
    this.asked.push(`open ${family} ${device}`)
    return { family, device, gateway, source: parseAddress(family === 4 ? `198.18.0.${this.sources++}` : `fd00::${this.sources++}`) }
  }

  async closeEgress(egress: Egress): Promise<void> {
    this.asked.push(`close ${egress.source}`)
  }

  /** What was asked since the last time. */
  take(): string[] {
    return this.asked.splice(0)
  }
}

function factsWith(link: Link | null, main = ''): HostFacts {
  const links = link === null ? [] : [link]
  return {
    v4: { main: parseRoutes(main), own: [], ownRules: [] },
    v6: { main: [], own: [], ownRules: [] },
    links: new Map(links.map((one) => [one.name, one])),
    deviceByAddress: new Map(links.flatMap((one) => one.addresses.map((address) => [address, one.name]))),
    sysctl: () => null,
  }
}

const SPEC: InterfaceSpec = {
  label: 'wifi',
  kind: 'interface',
  source: 'wlan0',
  gateway: null,
  destination: null,
  destinationPort: 0,
  destinations: [],
  mtu: 0,
  isBackup: false,
  cost: 0,
}

async function following(over: Partial<InterfaceSpec> = {}): Promise<{
  host: FakeHost
  paths: InterfacePaths
  change: (link: Link | null, main?: string) => Promise<string[]>
}> {
  const host = new FakeHost()
  const paths = new InterfacePaths({ ...SPEC, ...over }, host)
  const settle = (isAllowed = true): Promise<void> =>
    new Promise((resolve) => {
      paths.onSettled = resolve
      paths.follow(isAllowed)
    })
  await settle()
  const change = async (link: Link | null, main?: string): Promise<string[]> => {
    host.facts = factsWith(link, main)
    await settle()
    return host.take()
  }
  return { host, paths, change }
}

t.test('a path for each family in which the interface has an address that reaches beyond the link', async (t) => {
  const { host, paths, change } = await following()
  t.same(host.take(), ['open 4 wlan0', 'upsert 11 198.18.0.3 mtu 1400'])
  t.same(await change({ ...LINK, addresses: [...LINK.addresses, '2001:db8::9'] }), ['open 6 wlan0', 'upsert 12 fd00::4 mtu 1400'])
  await paths.stop()
  t.same(host.take(), ['remove 11', 'remove 12', 'close 198.18.0.3', 'close fd00::4'], 'everything is given back')
})

t.test('the path goes with link, carrier, address or interface, and the egress stays to stop what is its', async (t) => {
  const { host, paths, change } = await following()
  host.take()
  for (const link of [{ ...LINK, isUp: false }, { ...LINK, hasCarrier: false }, { ...LINK, addresses: ['fe80::9'] }, null]) {
    t.match(await change(link), [/^remove \d+$/])
    t.ok(paths.lastError)
    t.match(await change(LINK), [/^upsert \d+ 198\.18\.0\.3 mtu 1400$/])
    t.equal(paths.lastError, null)
  }
})

t.test('what subflows cannot survive is a path that goes and comes; what they can is an upsert', async (t) => {
  const { host, change } = await following()
  host.take()
  t.same(await change({ ...LINK, addresses: ['192.0.2.10'] }), ['remove 11', 'upsert 12 198.18.0.3 mtu 1400'], 'another address')
  t.same(await change({ ...LINK, addresses: ['192.0.2.10', '192.0.2.11'] }), [], 'one more address')
  t.same(
    await change({ ...LINK, addresses: ['192.0.2.11', '192.0.2.10'], index: 6 }),
    ['remove 12', 'upsert 13 198.18.0.3 mtu 1400'],
    'another interface',
  )
  const at6 = { ...LINK, addresses: ['192.0.2.11'], index: 6 }
  t.same(await change(at6, 'default via 192.0.2.1 dev wlan0'), ['remove 13', 'upsert 14 198.18.0.3 mtu 1400'], 'a gateway')
  t.same(await change(at6), [], 'displaced by a route at the TUN')
  t.same(await change(at6, 'default via 192.0.2.2 dev wlan0'), ['remove 14', 'upsert 15 198.18.0.3 mtu 1400'], 'another gateway')
  t.same(await change({ ...at6, mtu: 1300 }, 'default via 192.0.2.2 dev wlan0'), ['upsert 15 198.18.0.3 mtu 1300'], 'another MTU')
})

t.test('priority and MTU as configured; only families that gateway and destination leave', async (t) => {
  const { host, paths } = await following({ mtu: 1280, isBackup: true, gateway: parseAddress('192.0.2.1') })
  t.same(host.take(), ['open 4 wlan0', 'upsert 11 198.18.0.3 mtu 1280 backup'])
  t.same(paths.families, [4])
  paths.set({ isBackup: false })
  t.same(host.take(), ['upsert 11 198.18.0.3 mtu 1280'])
  t.same((await following({ destination: parseAddress('2001:db8::1') })).paths.families, [6])
})

t.test('an interface named by its address; while it is not allowed there is no path', async (t) => {
  const { host, paths } = await following({ source: '192.0.2.9' })
  t.same(host.take(), ['open 4 wlan0', 'upsert 11 198.18.0.3 mtu 1400'])
  paths.follow(false)
  t.same(host.take(), ['remove 11'], 'at once')
})
