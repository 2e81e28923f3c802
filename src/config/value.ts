import * as v from 'valibot'

/** Schemas of values that several keys have, with messages that say what is expected. */

/** A check of text by the parser that will read it later; its own message says what is wrong. */
export const parsable = (parse: (text: string) => unknown) =>
  v.rawCheck<string>(({ dataset, addIssue }) => {
    if (!dataset.typed) return
    try {
      parse(dataset.value)
    } catch (error) {
      addIssue({ message: error instanceof Error ? error.message : String(error) })
    }
  })

/** IFNAMSIZ is 16 with the terminating zero. */
export const interfaceName = v.pipe(
  v.string('must be the name of an interface'),
  v.regex(/^[\w.-]{1,15}$/, 'must be an interface name of at most 15 characters'),
)

export const flag = v.boolean('must be true or false')

/** A whole number within bounds. */
export const number = (min: number, max: number) =>
  v.pipe(
    v.number('must be a number'),
    v.integer('must be a whole number'),
    v.minValue(min, `must be at least ${min}`),
    v.maxValue(max, `must be at most ${max}`),
  )

/** @param what an example */
export const text = (what: string) => v.string(`must be text: ${what}`)

export const list = <const S extends v.GenericSchema>(item: S) => v.array(item, 'must be a list, like ["a", "b"]')

/** One of several words. */
export const oneOf = <const T extends readonly string[]>(words: T) => v.picklist(words, `must be ${wordList(words)}`)

function wordList(words: readonly string[]): string {
  return words.length < 2 ? (words[0] ?? '') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
}
