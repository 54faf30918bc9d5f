/** Cases run where no test runner is: in a page, too. */
export function check(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Error(what)
}
