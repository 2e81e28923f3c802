import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { scriptsIn } from '../../packet/main.js'
import { runScript, verdictText } from '../../packet/run/verdict.js'

const folder = fileURLToPath(new URL('../../packet/scripts/', import.meta.url))

/** Where we do something else than Linux, and know it: each of these fails, and has to move once it passes. */
const DIFFERENCES = `${folder}differences/`

const fileOf = (path: string): string => path.slice(folder.length)

t.test('every script of ours holds, and nothing is sent that it does not mention', async (t) => {
  const paths = scriptsIn(folder).filter((path) => !path.startsWith(DIFFERENCES))
  t.ok(paths.length > 50, `${paths.length} scripts`)
  for (const path of paths) {
    for (const seed of [1, 2]) {
      const verdict = runScript(readFileSync(path, 'utf8'), { isStrict: true, seed })
      t.equal(verdict.outcome, 'passed', verdictText(fileOf(path), verdict))
    }
  }
})

t.test('known differences from Linux are scripts that run', async (t) => {
  for (const path of scriptsIn(folder).filter((path) => path.startsWith(DIFFERENCES))) {
    const verdict = runScript(readFileSync(path, 'utf8'), { isStrict: true })
    t.not(verdict.outcome, 'unsupported', verdictText(fileOf(path), verdict))
    if (verdict.outcome === 'passed') t.comment(`${fileOf(path)} holds now: move it`)
  }
})
