import { DetourManager } from './detour.js'
import { FullMeshManager } from './full-mesh.js'
import { NdiffportsManager } from './ndiffports.js'
import type { PathManagerFactory } from './path-manager.js'

/** Path managers that can be named in a configuration; `scripted` ones come with a program. */
export const PATH_MANAGERS: { readonly [name in 'detour' | 'full-mesh' | 'ndiffports']: PathManagerFactory } = {
  detour: (view, limits) => new DetourManager(view, limits),
  'full-mesh': (view, limits) => new FullMeshManager(view, limits),
  ndiffports: (view, limits) => new NdiffportsManager(view, limits),
}
