import t from 'tap'
import { median, runJob, type TableSize, tableRows } from './tcp-table.js'

/*
 * A cheap part of `npm run campaign -- tcp-table`: the same rows and bounds, fewer and shorter runs. Rows whose bound holds for the
 * median of many runs only are left to the campaign.
 */

const SMALL: TableSize = { seeds: 5, lossEvents: 200, seconds: 12 }

const CHEAP: readonly RegExp[] = [
  /^cubic, (1|10|100) Mbit\/s, (10|100|300) ms: wire/,
  /^bbr, (10|100) Mbit\/s, (10|100) ms: wire/,
  /^cubic, (0\.1|0\.2|0\.5|1|2|5) % loss, 10 ms/,
  /^cubic, (2|5) % loss, 100 ms/,
  /^bbr, 1 % loss, (10|100) Mbit\/s, 30 ms/,
  /^(cubic|bbr), 100 Mbit\/s, (10|100) ms, 20 % reordered/,
]

const rows = tableRows(SMALL).filter((row) => CHEAP.some((name) => name.test(row.name)))
t.equal(rows.length, 25, 'each pattern names rows')
for (const row of rows) {
  t.test(row.name, async (t) => {
    const results = row.jobs.map(runJob)
    const { text, isRight } = row.judge(median(results.map((r) => r.value)))
    t.ok(isRight, text)
    t.ok(
      results.every((r) => r.faults > 0),
      'what the row is about took place',
    )
  })
}
