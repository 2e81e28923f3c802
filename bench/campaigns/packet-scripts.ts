import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { scriptsIn } from '../../test/packet/main.js'
import { runScript, verdictText } from '../../test/packet/run/verdict.js'
import type { Campaign } from './campaign.js'

/** Our packet scripts with ever other initial sequence numbers and keys, so that each of them meets a wrap. */
export const campaign: Campaign = {
  summary: 'packet scripts of test/packet/scripts with other random numbers; [rounds], 100 unless told (a second each)',
  async run(args) {
    const rounds = Number(args[0] ?? 100)
    const folder = fileURLToPath(new URL('../../test/packet/scripts', import.meta.url))
    const scripts = scriptsIn(folder)
      .filter((path) => !path.includes('/differences/'))
      .map((path) => ({ path, source: readFileSync(path, 'utf8') }))
    let failed = 0
    for (let seed = 1; seed <= rounds; seed++) {
      for (const { path, source } of scripts) {
        const verdict = runScript(source, { seed, isStrict: true })
        if (verdict.outcome === 'passed') continue
        failed++
        process.stdout.write(`--seed=${seed}: ${verdictText(path, verdict)}\n`)
      }
    }
    process.stdout.write(`${scripts.length} scripts, ${rounds} rounds, ${failed} failed\n`)
    return failed === 0
  },
}
