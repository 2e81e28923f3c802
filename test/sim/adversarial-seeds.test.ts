import t from 'tap'
import { noTally, runAdversarial } from './adversarial-run.js'

/** Seeds that went wrong once, and why. */
const SEEDS: readonly (readonly [number, string])[] = [
  [710051283, 'a FIN came before what was staged could be placed'],
  [710055561, 'a subflow was reset for holding the send buffer although the other one was mute as well'],
  [710185464, 'with checksums, bytes that never got a mapping filled the staging for ever'],
  [710097598, 'an MP_FAIL left a join on its way'],
  [388091463, 'a join that the peer had refused counted as one'],
  [388144193, 'mute subflows filled the limit, and nothing could replace them'],
  [388533466, 'joins came up for hours while nothing arrived'],
  [388666389, 'bytes behind a copy were taken for what comes next in the stream'],
  [388774567, 'a copy was sent to a peer that had fallen back'],
  [389032066, 'a coalesced copy ended up in the stream'],
  [700756078, 'only a DATA_ACK was lost, and a copy went to a peer that had just fallen back'],
  [1073353383, 'a subflow was reset for holding up a buffer that had room, and the news of it was lost'],
  [1073353670, 'a copy was sent instead of a question that MP_FAIL would have answered'],
  [1073359493, 'the same as 1073353383, with a box that splits'],
  [1073375933, 'a plain RST counted as the refusal of a join'],
  [1073437788, 'what was staged at a fallback was lost when the endpoint closed before a slow reader had it'],
  [1073543117, 'the infinite mapping that answered an MP_FAIL was lost in a box'],
  [388667643, 'a closed window was asked about only where no answer came'],
]

t.test('adversarial transfers that went wrong once', async (t) => {
  const tally = noTally()
  for (const [seed, why] of SEEDS) t.equal(runAdversarial(seed, tally), '', why)
  t.equal(tally.transfers, SEEDS.length)
  t.ok(tally.bytes > 0 && tally.joined > 0 && tally.troubles.stripped > 0 && tally.troubles.coalesced > 0)
})
