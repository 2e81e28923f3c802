import { readdirSync, readFileSync } from 'node:fs'
import { hex } from '../oracle/wire-bytes.js'

const folder = new URL('corpus/', import.meta.url)

/**
 * The inputs in corpus/NAME.hex: starting points of the mutator, and every input that ever failed. Packets with their vnet header
 * in hexadecimal; lines that begin with # tell what it is about.
 */
export function loadCorpus(): Map<string, Uint8Array> {
  const inputs = new Map<string, Uint8Array>()
  for (const file of readdirSync(folder).sort()) {
    if (!file.endsWith('.hex')) continue
    const text = readFileSync(new URL(file, folder), 'utf8')
    inputs.set(file.slice(0, -4), hex(text.replace(/^#.*$/gm, '')))
  }
  return inputs
}
