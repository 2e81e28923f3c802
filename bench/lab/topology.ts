import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { parse } from 'smol-toml'
import * as v from 'valibot'
import { MptcpError } from '../../src/base/errors.js'
import { parsePrefix } from '../../src/config/address-text.js'
import { DEFAULT_SETTINGS, type LinkSettings, parseSetting, SETTING_NAMES, withSettings } from './link-settings.js'

/** A host or a router: a network namespace of its own. */
export interface NodeSpec {
  readonly name: string
  /** Forwards packets, in both families. */
  readonly forward: boolean
  /** Arguments of `ip route add`, in this order. */
  readonly routes: readonly string[]
  readonly sysctls: Readonly<Record<string, string>>
}

/** One end of a link: a TUN device in a node. */
export interface EndSpec {
  readonly node: string
  readonly device: string
  readonly addresses: readonly string[]
}

export interface LinkSpec {
  readonly name: string
  readonly mtu: number
  readonly ends: readonly [EndSpec, EndSpec]
  /** What happens to packets that enter at the end of the same index. */
  readonly settings: readonly [LinkSettings, LinkSettings]
}

/** A laboratory as its file describes it. */
export interface Topology {
  readonly name: string
  readonly nodes: readonly NodeSpec[]
  readonly links: readonly LinkSpec[]
  /** Whether any address is IPv6; otherwise the nodes have none at all, and no chatter of it. */
  readonly hasIpv6: boolean
}

/** Names of nodes and links, and by default of devices (IFNAMSIZ). */
const NAME = v.pipe(v.string(), v.regex(/^[a-z][a-z0-9-]{0,14}$/, 'must be 1-15 of a-z, 0-9 and -, a letter first'))
const scalar = v.union([v.string(), v.number(), v.boolean()])
const sysctls = v.optional(v.record(v.string(), scalar), {})
const settings = Object.fromEntries(SETTING_NAMES.map((name) => [name, v.optional(scalar)]))

const Schema = v.strictObject({
  /** For all nodes; a node's own come later. */
  sysctl: sysctls,
  /** Settings of all links. */
  defaults: v.optional(v.strictObject(settings), {}),
  node: v.record(
    NAME,
    v.strictObject({ forward: v.optional(v.boolean(), false), routes: v.optional(v.array(v.string()), []), sysctl: sysctls }),
  ),
  link: v.record(
    NAME,
    v.strictObject({
      ends: v.record(NAME, v.union([v.string(), v.array(v.string())])),
      devices: v.optional(v.record(NAME, NAME), {}),
      mtu: v.optional(v.pipe(v.number(), v.integer(), v.minValue(576), v.maxValue(9000)), 1500),
      /** One direction: that of packets sent by this node. */
      from: v.optional(v.record(NAME, v.strictObject(settings)), {}),
      ...settings,
    }),
  ),
})

type LinkInput = v.InferOutput<typeof Schema>['link'][string]
type Scalars = Readonly<Record<string, unknown>>

/** Reads a topology file. @throws {MptcpError} ERR_LAB_TOPOLOGY with the place of the mistake */
export function loadTopology(path: string): Topology {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    throw new MptcpError('ERR_LAB_TOPOLOGY', `cannot read ${path}: ${(error as Error).message}`)
  }
  try {
    return parseTopology(text, basename(path, '.toml'))
  } catch (error) {
    throw new MptcpError('ERR_LAB_TOPOLOGY', `${path}: ${(error as Error).message}`)
  }
}

/** @param name of the laboratory. @throws an error that names the place of the mistake */
export function parseTopology(text: string, name: string): Topology {
  const parsed = v.safeParse(Schema, parse(text))
  if (!parsed.success) {
    const [issue] = parsed.issues
    const message = issue.type === 'strict_object' && issue.received !== 'undefined' ? 'unknown key' : issue.message
    throw new Error(`${v.getDotPath(issue) ?? 'the file'}: ${message}`)
  }
  const { node, link, sysctl, defaults } = parsed.output
  const nodes = Object.entries(node).map(([nodeName, spec]) => ({
    name: nodeName,
    forward: spec.forward,
    routes: spec.routes,
    sysctls: texts({ ...sysctl, ...spec.sysctl }),
  }))
  const base = at('defaults', () => changed(DEFAULT_SETTINGS, defaults))
  const links = Object.entries(link).map(([linkName, spec]) => at(`link.${linkName}`, () => linkOf(linkName, spec, base)))
  checkDevices(nodes, links)
  const hasIpv6 = links.some(({ ends }) => ends.some(({ addresses }) => addresses.some((address) => address.includes(':'))))
  return { name, nodes, links, hasIpv6 }
}

function linkOf(name: string, spec: LinkInput, base: LinkSettings): LinkSpec {
  const nodes = Object.keys(spec.ends)
  const [a, b] = nodes
  if (a === undefined || b === undefined || nodes.length !== 2) throw new Error('ends: a link has two, each with the address(es) of a node')
  for (const key of [...Object.keys(spec.devices), ...Object.keys(spec.from)]) {
    if (!nodes.includes(key)) throw new Error(`'${key}' is no end of this link`)
  }
  const both = changed(base, Object.fromEntries(SETTING_NAMES.map((key) => [key, spec[key as keyof typeof spec]])))
  const end = (node: string, peer: string): EndSpec => {
    const addresses = [spec.ends[node] ?? []].flat()
    for (const address of addresses) parsePrefix(address)
    return { node, device: spec.devices[node] ?? peer, addresses }
  }
  return {
    name,
    mtu: spec.mtu,
    ends: [end(a, b), end(b, a)],
    settings: [changed(both, spec.from[a] ?? {}), changed(both, spec.from[b] ?? {})],
  }
}

/** Every device is in a node that exists, and has a name there of its own. */
function checkDevices(nodes: readonly NodeSpec[], links: readonly LinkSpec[]): void {
  const taken = new Set(['lo'])
  const known = new Set(nodes.map(({ name }) => name))
  for (const { name, ends } of links) {
    for (const { node, device } of ends) {
      if (!known.has(node)) throw new Error(`link.${name}: there is no node '${node}'`)
      const key = device === 'lo' ? 'lo' : `${node}/${device}`
      if (taken.has(key)) throw new Error(`link.${name}: device name '${device}' is taken in node '${node}': give another in 'devices'`)
      taken.add(key)
    }
  }
}

function changed(base: LinkSettings, values: Scalars): LinkSettings {
  let result: Partial<LinkSettings> = {}
  for (const [key, value] of Object.entries(values)) {
    if (value !== undefined) result = { ...result, ...parseSetting(key, String(value)) }
  }
  return withSettings(base, result)
}

function texts(values: Scalars): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, String(value)]))
}

function at<T>(place: string, run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw new Error(`${place}: ${(error as Error).message}`)
  }
}
