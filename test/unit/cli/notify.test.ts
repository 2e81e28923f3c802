import t from 'tap'
import { Notifier, type NotifyWorld } from '../../../src/cli/notify.js'

function world(env: Record<string, string | undefined>, isBroken = false) {
  const sent: [string, string][] = []
  const made: NotifyWorld = {
    env,
    pid: 77,
    nowUs: () => 123_456.7,
    send: (path, text) => {
      if (isBroken) throw new Error('ECONNREFUSED')
      sent.push([path, text])
    },
  }
  return { made, sent }
}

t.test('sd_notify: what is said, where, and with which clock', (t) => {
  const env: Record<string, string | undefined> = { NOTIFY_SOCKET: '@/org/x', WATCHDOG_USEC: '3000000', WATCHDOG_PID: '77', OTHER: '1' }
  const { made, sent } = world(env)
  const notifier = new Notifier(made)
  t.same(env, { OTHER: '1' }, 'no child speaks for us')
  notifier.ready('running')
  notifier.reloading()
  notifier.watchdog()
  notifier.stopping('draining', 10_000)
  t.same(sent, [
    ['@/org/x', 'READY=1\nSTATUS=running\nMAINPID=77'],
    ['@/org/x', 'RELOADING=1\nMONOTONIC_USEC=123456'],
    ['@/org/x', 'WATCHDOG=1'],
    ['@/org/x', 'STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=10000000'],
  ])
  t.equal(notifier.watchdogMs, 1500, 'twice as often as the manager waits')
  t.end()
})

t.test('without a service manager nothing is sent; a broken one does not matter', (t) => {
  for (const env of [{}, { NOTIFY_SOCKET: 'vsock:2:1' }, { WATCHDOG_USEC: '1000000' }]) {
    const { made, sent } = world(env)
    const notifier = new Notifier(made)
    notifier.ready('running')
    t.same(sent, [])
    t.equal(notifier.watchdogMs, null)
  }
  const notifier = new Notifier(world({ NOTIFY_SOCKET: '/run/x' }, true).made)
  notifier.ready('running')
  t.equal(notifier.watchdogMs, null, 'it asked for no signs of life')
  t.equal(
    new Notifier(world({ NOTIFY_SOCKET: '/run/x', WATCHDOG_USEC: '1', WATCHDOG_PID: '78' }).made).watchdogMs,
    null,
    "another process's watchdog",
  )
  t.end()
})
