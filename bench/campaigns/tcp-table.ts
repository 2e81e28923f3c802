import { type ChildProcess, fork } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { FULL_SIZE, median, TABLE_PARTS, type TableJob, type TableResult, type TableRow, tableRows } from '../../test/sim/tcp-table.js'
import type { Campaign } from './campaign.js'

/** What `TableResult.faults` counts. */
const FAULTS = { use: 'packets', loss: 'lost', 'bbr-loss': 'lost', reorder: 'held back', share: 'packets of the smaller flow' } as const
const WORKER = fileURLToPath(new URL('../tcp-table-worker.ts', import.meta.url))
const USAGE = `[--only ${TABLE_PARTS.join(',')}] [--rows TEXT] [--seeds N] [--events N] [--seconds N] [--jobs N]`

/** What one TCP flow of ours reaches in simulated networks, row by row with its bound. */
export const campaign: Campaign = {
  summary: `what TCP reaches in simulated networks, with bounds; about 1 h; ${USAGE}`,
  async run(args) {
    const { values } = parseArgs({
      args: [...args],
      options: {
        only: { type: 'string', default: TABLE_PARTS.join(',') },
        rows: { type: 'string', default: '' },
        seeds: { type: 'string', default: String(FULL_SIZE.seeds) },
        events: { type: 'string', default: String(FULL_SIZE.lossEvents) },
        seconds: { type: 'string', default: String(FULL_SIZE.seconds) },
        jobs: { type: 'string', default: String(availableParallelism()) },
      },
    })
    const parts = values.only.split(',')
    const unknown = parts.find((part) => !(TABLE_PARTS as readonly string[]).includes(part))
    const size = { seeds: Number(values.seeds), lossEvents: Number(values.events), seconds: Number(values.seconds) }
    const jobs = Number(values.jobs)
    if (unknown !== undefined || ![...Object.values(size), jobs].every((n) => n >= 1)) {
      process.stdout.write(`tcp-table: ${unknown === undefined ? 'a number below 1' : `no part ${unknown}`}; usage: ${USAGE}\n`)
      return false
    }
    const rows = tableRows(size).filter((row) => parts.includes(row.part) && row.name.includes(values.rows))
    return await measure(rows, jobs)
  },
}

async function measure(rows: readonly TableRow[], processes: number): Promise<boolean> {
  const results: TableResult[][] = rows.map(() => [])
  const tasks = rows.flatMap((row, i) => row.jobs.map((job) => ({ i, job })))
  let next = 0
  let shown = 0
  let right = 0
  const work = async (): Promise<void> => {
    const worker = fork(WORKER, { stdio: 'inherit' })
    try {
      for (let task = tasks[next++]; task !== undefined; task = tasks[next++]) {
        ;(results[task.i] as TableResult[]).push(await ask(worker, task.job))
        // in the order of the table, each as soon as all before it are there
        for (; shown < rows.length && results[shown]?.length === rows[shown]?.jobs.length; shown++) {
          if (print(rows[shown] as TableRow, results[shown] as TableResult[])) right++
        }
      }
    } finally {
      worker.disconnect()
    }
  }
  await Promise.all(Array.from({ length: processes }, work))
  process.stdout.write(`${right} of ${rows.length} rows within their bounds\n`)
  return right === rows.length && right > 0
}

/** @throws when the worker ends instead of answering. */
function ask(worker: ChildProcess, job: TableJob): Promise<TableResult> {
  return new Promise((resolve, reject) => {
    const onExit = (): void => reject(new Error(`no result of ${JSON.stringify(job)}`))
    worker.once('exit', onExit)
    worker.once('message', (result: TableResult) => {
      worker.off('exit', onExit)
      resolve(result)
    })
    worker.send(job)
  })
}

/** Prints the row; whether it is within its bound and what it is about took place. */
function print(row: TableRow, results: readonly TableResult[]): boolean {
  const { text, isRight } = row.judge(median(results.map((r) => r.value)))
  const faults = results.reduce((sum, r) => sum + r.faults, 0)
  const verdict = faults === 0 ? 'NOTHING HAPPENED' : isRight ? 'ok' : 'OUT OF BOUNDS'
  process.stdout.write(`${row.name.padEnd(64)} ${text}; ${results.length} runs, ${faults.toFixed(0)} ${FAULTS[row.part]}: ${verdict}\n`)
  return isRight && faults > 0
}
