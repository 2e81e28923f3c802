/** Runs rows of the TCP table that `campaign -- tcp-table` sends, one at a time, and sends the results back. */
import { runJob, type TableJob } from '../test/sim/tcp-table.js'

process.on('message', (job: TableJob) => process.send?.(runJob(job)))
