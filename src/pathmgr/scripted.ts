import { type Micros, NEVER } from '../base/time.js'
import type { Path } from './path.js'
import type { PathCommand, PathEvent, PathManager, PathManagerFactory, PathView } from './path-manager.js'

/**
 * Decides in the embedding program's place: gets each event with the connection that it is about, returns commands. Called within a turn:
 * it returns at once, and calls nothing of the stack.
 */
export type PathScript = (event: PathEvent, view: PathView) => readonly PathCommand[]

/** A manager that leaves everything to a script. */
export class ScriptedManager implements PathManager {
  readonly name = 'scripted'
  private readonly script: PathScript
  private readonly view: PathView

  constructor(script: PathScript, view: PathView) {
    this.script = script
    this.view = view
  }

  handle(event: PathEvent | null, _now: Micros, out: PathCommand[]): Micros {
    if (event !== null) out.push(...this.script(event, this.view))
    return NEVER
  }

  reason(_path: Path, _now: Micros): string | null {
    return 'the script has not asked for it'
  }
}

/** For `EngineConfig.pathManager`. */
export function scripted(script: PathScript): PathManagerFactory {
  return (view) => new ScriptedManager(script, view)
}
