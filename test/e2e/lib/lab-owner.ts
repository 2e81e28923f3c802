/** Keeps the laboratory of a topology file up for as long as it runs: arguments are the file and the name. */
import { Laboratory } from '../../../bench/lab/laboratory.js'

const [file = '', name = ''] = process.argv.slice(2)
await Laboratory.up(file, { name })
process.stdout.write('up\n')
setInterval(() => {}, 1000)
