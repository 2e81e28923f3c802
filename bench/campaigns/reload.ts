import { reloadUnderLoad } from '../../test/e2e/lib/reload.js'
import { Lab } from '../../test/e2e/lib/lab.js'
import { startServers } from '../../test/e2e/lib/peers.js'
import { counter, errorsIn, FALLBACK_COUNTERS, nstat } from '../../test/e2e/lib/stats.js'
import type { Campaign } from './campaign.js'

/** robustness.md of the plan: connections survive any number of reloads, and an invalid file changes nothing. */
export const campaign: Campaign = {
  summary: 'SIGHUP 1000 times, half of the files invalid, while curl downloads: byte-exact, no reset [COUNT]; about a minute, root',
  async run([count = '1000']) {
    const lab = await Lab.create('mptcpd-camp')
    try {
      await startServers(lab)
      const startedAt = performance.now()
      const result = await reloadUnderLoad(lab, Number(count))
      const counters = await nstat(lab.server)
      const errors = { ...errorsIn(counters), ...errorsIn(counters, FALLBACK_COUNTERS) }
      const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
      process.stdout.write(`${seconds} s: ${JSON.stringify(result)}\nerrors at the server: ${JSON.stringify(errors)}\n`)
      return (
        result.isByteExact &&
        result.resets === 0 &&
        result.exitCode === 0 &&
        result.reloaded + result.refused === Number(count) &&
        Math.min(result.reloaded, result.refused) >= Number(count) / 4 &&
        Object.keys(errors).length === 0 &&
        counter(counters, 'MPTcpExtMPCapableACKRX') > 0
      )
    } finally {
      await lab.close()
    }
  },
}
