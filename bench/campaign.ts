/** `npm run campaign -- NAME [ARGUMENTS]`: long measurements and campaigns that are no part of the test run. Without a name, lists them. */
import { readdirSync } from 'node:fs'
import type { Campaign } from './campaigns/campaign.js'

const folder = new URL('campaigns/', import.meta.url)
const names = readdirSync(folder)
  .filter((file) => file.endsWith('.ts') && file !== 'campaign.ts')
  .map((file) => file.slice(0, -'.ts'.length))
  .sort()

async function load(name: string): Promise<Campaign> {
  const { campaign } = (await import(new URL(`${name}.ts`, folder).href)) as { campaign?: Campaign }
  if (!campaign) throw new Error(`bench/campaigns/${name}.ts exports no campaign`)
  return campaign
}

const [name, ...args] = process.argv.slice(2)
if (name !== undefined && names.includes(name)) {
  process.exitCode = (await (await load(name)).run(args)) ? 0 : 1
} else {
  if (name !== undefined) process.stderr.write(`no campaign ${name}\n`)
  process.stdout.write('usage: npm run campaign -- NAME [ARGUMENTS]\n')
  for (const known of names) process.stdout.write(`  ${known.padEnd(20)} ${(await load(known)).summary}\n`)
  process.exitCode = name === undefined ? 0 : 2
}
