import * as v from 'valibot'

type AnySchema = v.GenericSchema<unknown, unknown>

/** What a change of a key by `reload` does: at once, for connections that begin afterwards, or nothing until the daemon is restarted. */
export type Applies = 'at once' | 'new connections' | 'restart'

/** What people must know about a key; the reference and the reload are made from it. */
export interface KeyInfo {
  /** One or two sentences, for the reference. */
  readonly doc: string
  readonly applies: Applies
  /** How the command line sets it, as commander writes flags; a list is given by repeating the flag. */
  readonly flag?: string
  /** What the flag does, where the first sentence of `doc` does not say it: a flag that switches off. */
  readonly help?: string
  /** A value for the reference's example where the default shows too little. */
  readonly example?: string
  /** For a list of tables: the keys of each kind of table. */
  readonly tables?: readonly { readonly name: string; readonly entries: Readonly<Record<string, AnySchema>> }[]
  /** A whole piece of a file instead of `example`. */
  readonly exampleToml?: string
  /** A value of which this holds must stay unknown to others: a file that sets it may not be readable by them, and no message shows it. */
  readonly isSecret?: (value: unknown) => boolean
}

type Unknowns = v.GenericSchema<Record<string, unknown>, unknown> & { readonly entries: Readonly<Record<string, AnySchema>> }

/** A schema of keys: a strict object, whose entries are made by `key`. */
export type KeySchema = Unknowns

/** One key with a default. */
export function key<const S extends AnySchema, const D extends v.Default<S, undefined>>(schema: S, fallback: D, info: KeyInfo) {
  return v.pipe(v.optional(schema, fallback), v.metadata({ ...info }))
}

/** One key that must be given. */
export function required<const S extends AnySchema>(schema: S, info: KeyInfo) {
  return v.pipe(schema, v.metadata({ ...info }))
}

/** What was said about a key. */
export function keyInfo(schema: Pick<KeySchema, 'entries'>, name: string): KeyInfo {
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
