export async function runMutations(_pitfall: string | undefined): Promise<{ killed: number; survived: number }> {
  return { killed: 0, survived: 0 }
}
