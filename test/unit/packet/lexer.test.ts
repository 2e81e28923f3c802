import t from 'tap'
import { Unsupported } from '../../packet/errors.js'
import { tokenize } from '../../packet/language/lexer.js'

const kinds = (source: string): string[] =>
  tokenize(source)
    .map((token) => `${token.kind} ${token.text}`)
    .slice(0, -1)

t.test('numbers, words and addresses: the longest wins', async (t) => {
  t.same(
    kinds('1:1001(1000)'),
    ['int 1', 'char :', 'int 1001', 'char (', 'int 1000', 'char )'],
    'a range of sequence numbers is no address',
  )
  t.same(kinds('+.01 0x41 -1 P. 2a'), ['char +', 'float .01', 'int 0x41', 'int -1', 'word P', 'char .', 'word 2a'])
  t.same(kinds('192.0.2.1:80 2001:db8::1 ::1'), ['ipv4 192.0.2.1', 'char :', 'int 80', 'ipv6 2001:db8::1', 'ipv6 ::1'])
  t.equal(tokenize('0x41')[0]?.value, 65)
})

t.test('a blocking time is two numbers and an ellipsis', async (t) => {
  t.same(kinds('0...0.020'), ['int 0', 'ellipsis ...', 'float 0.020'])
  t.same(kinds('+0.1...0.3'), ['char +', 'float 0.1', 'ellipsis ...', 'float 0.3'])
})

t.test('quotations and comments', async (t) => {
  t.same(kinds('"a \\" b" `x\ny` %{ assert 1 }% --mtu'), ['string a \\" b', 'backquoted x\ny', 'code  assert 1 ', 'option mtu'])
  t.same(kinds('1 // 2\n/* 3 * / \n 4 */ 5'), ['int 1', 'int 5'])
})

t.test('lines are counted through comments and quotations', async (t) => {
  const lines = tokenize('1\n/* \n */ 2 `\n\n` 3').map((token) => token.line)
  t.same(lines, [1, 3, 3, 5, 5])
})

t.test('an open quotation is unsupported', async (t) => {
  const cases: readonly (readonly [string, string])[] = [
    ['"abc', '"'],
    ['`abc', '`'],
    ['%{ abc', '%{'],
    ['/* abc', '/*'],
  ]
  for (const [source, opening] of cases) t.throws(() => tokenize(`1\n${source}`), new Unsupported(2, `${opening} without its end`))
})
