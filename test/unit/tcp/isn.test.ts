import t from 'tap'
import { IpAddress, type Tuple } from '../../../src/base/address.js'
import { Rng } from '../../../src/base/rng.js'
import { US_PER_S } from '../../../src/base/time.js'
import { InitialNumbers } from '../../../src/tcp/isn.js'

const LOCAL = IpAddress.v4(0xc6120002)
const REMOTE = IpAddress.v4(0xcb007105)
const tuple = (localPort: number, remotePort = 80, remote = REMOTE): Tuple => ({ local: LOCAL, localPort, remote, remotePort })

function numbersOf(seed: number): InitialNumbers {
  const rng = new Rng(seed)
  return new InitialNumbers(() => rng.int32())
}

t.test('rfc6528 3: numbers of one tuple rise by one each 4 us', (t) => {
  const numbers = numbersOf(1)
  const first = numbers.issOf(tuple(1), 0)
  t.equal((numbers.issOf(tuple(1), 4) - first) | 0, 1)
  t.equal((numbers.issOf(tuple(1), US_PER_S) - first) | 0, 250_000)
  // far beyond 2^32 ticks
  const days = 30 * 24 * 3600 * US_PER_S
  t.equal((numbers.issOf(tuple(1), days + 4_000) - numbers.issOf(tuple(1), days)) | 0, 1000)
  t.end()
})

t.test('rfc6528 3: numbers of different tuples, or under another secret, have nothing in common', (t) => {
  const numbers = numbersOf(1)
  const first = numbers.issOf(tuple(1), 0)
  let near = 0
  for (let port = 2; port < 2002; port++) if (Math.abs((numbers.issOf(tuple(port), 0) - first) | 0) < 1 << 24) near++
  t.ok(near < 60, `${near} of 2000 within 2^24, 15 expected`)
  t.not(numbers.issOf(tuple(1, 443), 0), first)
  t.not(numbersOf(2).issOf(tuple(1), 0), first)
  t.end()
})

t.test('rfc7323 5.4: the offset of timestamps belongs to the pair of addresses, and tells nothing of the sequence numbers', (t) => {
  const numbers = numbersOf(1)
  const offset = numbers.tsOffsetOf(tuple(1))
  t.equal(numbers.tsOffsetOf(tuple(2, 443)), offset)
  t.not(numbers.tsOffsetOf(tuple(1, 80, IpAddress.v4(0xcb007106))), offset)
  t.not(numbersOf(2).tsOffsetOf(tuple(1)), offset)
  t.not(numbers.issOf(tuple(1), 0), offset)
  t.end()
})
