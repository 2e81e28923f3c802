import * as v from 'valibot'

/** What a change of a key by `reload` does: at once, for connections that begin afterwards, or nothing until the daemon is restarted. */
export type Applies = 'at once' | 'new connections' | 'restart'

/** What people must know about a key; the reference and the reload are made from it. */
export interface KeyInfo {
  /** One or two sentences, for the reference. */
  readonly doc: string
  readonly applies: Applies
  /** How the command line sets it, as commander writes flags; a list is given by repeating the flag. */
  readonly flag?: string
  /** A value for the reference's example where the default shows too little. */
  readonly example?: string
  /** Its value must stay unknown to others: a file that sets it may not be readable by them, and no log shows it. */
  readonly isSecret?: boolean
}

type AnySchema = v.GenericSchema<unknown, unknown>
type Unknowns = v.GenericSchema<Record<string, unknown>, unknown> & { readonly entries: Readonly<Record<string, AnySchema>> }

/** A schema of keys: a strict object, whose entries are made by `key`. */
export type KeySchema = Unknowns

/** One key with a default. */
export function key<const S extends AnySchema, const D extends v.Default<S, undefined>>(schema: S, fallback: D, info: KeyInfo) {
  return v.pipe(v.optional(schema, fallback), v.metadata({ ...info }))
}

/** What was said about a key. */
export function keyInfo(schema: KeySchema, name: string): KeyInfo {
  const entry = schema.entries[name]
  if (entry === undefined) throw new RangeError(`no key ${name}`)
  return v.getMetadata(entry as Parameters<typeof v.getMetadata>[0]) as unknown as KeyInfo
}

/** `sendBuffer` as it stands in files and flags: `send-buffer`. */
export function fileName(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}

/** And back. */
export function propertyName(name: string): string {
  return name.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())
}
