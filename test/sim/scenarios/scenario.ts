export interface Scenario {
  number: number
  name: string
  shows: string
}
