import t from 'tap'
import { Log, type LogSink } from '../../../src/cli/log.js'

/** Collects lines; `pass` lets time go by. */
class TestSink implements LogSink {
  readonly lines: string[] = []
  readonly isTty: boolean
  readonly isJournal: boolean
  private now = Date.UTC(2026, 0, 1)
  private timers: { at: number; run: () => void }[] = []

  constructor(isTty = false, isJournal = false) {
    this.isTty = isTty
    this.isJournal = isJournal
  }

  nowMs(): number {
    return this.now
  }
  write(line: string): void {
    this.lines.push(line)
  }
  later(ms: number, run: () => void): void {
    this.timers.push({ at: this.now + ms, run })
  }
  pass(ms: number): void {
    this.now += ms
    const due = this.timers.filter((timer) => timer.at <= this.now)
    this.timers = this.timers.filter((timer) => timer.at > this.now)
    for (const timer of due) timer.run()
  }
}

t.test('people get text, programs JSON, the journal its priority', (t) => {
  const tty = new TestSink(true)
  new Log('info', 'auto', tty).warn('path is gone', { path: 'eth1', reason: 'no route\nto host' })
  t.same(tty.lines, ['2026-01-01T00:00:00.000Z warn  path is gone path=eth1 reason="no route\\nto host"\n'])
  const pipe = new TestSink()
  new Log('info', 'auto', pipe).error('broken', { code: 7 })
  t.same(JSON.parse(pipe.lines[0] as string), { time: '2026-01-01T00:00:00.000Z', level: 'error', message: 'broken', code: 7 })
  const journal = new TestSink(false, true)
  new Log('debug', 'text', journal).debug('detail')
  t.same(journal.lines, ['<7>2026-01-01T00:00:00.000Z debug detail\n'])
  t.end()
})

t.test('levels hold, and change while running', (t) => {
  const sink = new TestSink()
  const log = new Log('warn', 'json', sink)
  log.info('quiet')
  log.debug('quieter')
  t.same(sink.lines, [])
  log.configure('debug', 'text')
  log.debug('loud')
  t.match(sink.lines[0], /debug loud\n$/)
  t.end()
})

t.test('a repeated message is held back and counted, and others pass', (t) => {
  const sink = new TestSink()
  const log = new Log('info', 'json', sink)
  for (let i = 0; i < 1000; i++) log.warn('flood', { i })
  log.warn('other')
  const messages = () => sink.lines.map((line) => JSON.parse(line) as { message: string; level: string; suppressed?: number })
  t.same(
    messages().map((m) => m.message),
    ['flood', 'flood', 'flood', 'flood', 'flood', 'other'],
  )
  sink.pass(1000)
  t.match(messages().at(-1), { message: 'flood', level: 'warn', suppressed: 995 })
  t.equal(sink.lines.length, 7)
  log.warn('flood')
  t.equal(sink.lines.length, 8, 'a new window')
  sink.pass(1000)
  t.equal(sink.lines.length, 8, 'nothing was held back in it')
  t.end()
})

t.test('what is watched is bounded, and nothing is lost by that', (t) => {
  const sink = new TestSink()
  const log = new Log('info', 'json', sink)
  for (let i = 0; i < 7; i++) log.info('first')
  for (let i = 0; i < 1000; i++) log.info(`message ${i}`)
  t.match(JSON.parse(sink.lines.find((line) => line.includes('suppressed')) as string), { message: 'first', suppressed: 2 })
  sink.pass(1000)
  t.equal(sink.lines.length, 1006)
  t.end()
})

t.test('keys and tokens are never shown', (t) => {
  for (const isTty of [false, true]) {
    const sink = new TestSink(isTty)
    new Log('info', 'auto', sink).info('joined', { localKey: 'deadbeef', token: 12345, hmac: 'cafe', path: 'eth0' })
    t.notMatch(sink.lines[0], /deadbeef|12345|cafe/)
    t.match(sink.lines[0], /hidden.*eth0/)
  }
  t.end()
})
