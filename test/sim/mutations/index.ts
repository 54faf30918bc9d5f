/** Every pitfall of docs/pitfalls.md: as a mutation with the scenario that kills it, or with the reason why there is none. */
import type { Absent, Mutation } from './mutation.js'

/** Only the homes that are here are asked before a tombstone is forgotten. */
const ASK_ONLY_HOMES: Mutation['changes'] = [
  {
    file: 'src/core/sync/reaping.ts',
    find: '    if (!everybodyIsHere) return\n',
    replace: '    if (everybodyIsHere === undefined) return\n',
  },
  {
    file: 'src/core/sync/reaping.ts',
    find: '        others.map((record) => record.node),\n',
    replace:
      '        others.map((record) => record.node).filter((node) => this.routing.isReachable(node) && keys.slice(i, i + this.tuning.batchKeys).some((key) => this.routing.homes(key).includes(node))),\n',
  },
]

const SAME_ACTOR_IN_EVERY_LIFE: Mutation['changes'] = [
  {
    file: 'src/core/minter.ts',
    find: 'return actorOf(this.node, this.random.id(RANDOM_LENGTH))',
    replace: "return actorOf(this.node, 'A'.repeat(RANDOM_LENGTH))",
  },
]

const DELIVERED_AGAIN_AND_AGAIN: Mutation['changes'] = [
  {
    file: 'src/core/requests/handoff.ts',
    find: 'if (this.stopped || this.busy.has(home) || home === this.routing.self) return',
    replace: 'if (this.stopped || home === this.routing.self) return',
  },
  {
    file: 'src/core/requests/handoff.ts',
    find: '    this.timer = this.clock.setTimer(this.tuning.handoffIntervalMs, () => {\n',
    replace: '    this.timer = this.clock.setTimer(this.tuning.handoffIntervalMs / 20, () => {\n',
  },
]

export const mutations: Mutation[] = [
  {
    pitfall: 'P1',
    name: 'contexts are never shortened, however many have agreed',
    killedBy: 'huge-context',
    changes: [
      {
        file: 'src/core/sync/reaping.ts',
        find: 'size > SMALL_CONTEXT &&',
        replace: 'size > 1000 * SMALL_CONTEXT &&',
      },
    ],
  },
  {
    pitfall: 'P7',
    name: 'expired values stay where they are',
    killedBy: 'ttl-skew',
    changes: [
      {
        file: 'src/core/sync/scrub.ts',
        find: 'return !isEmpty(gone) && isFirst()',
        replace: 'return !isEmpty(gone) && false && isFirst()',
      },
    ],
  },
  {
    pitfall: 'P1',
    name: 'contexts are cut to the actors of the present versions',
    killedBy: 'huge-context',
    changes: [
      {
        file: 'src/core/replica/replica.ts',
        find: '  mergeContainers,\n} from',
        replace: '  mergeContainers,\n  withStableContextDropped,\n} from',
      },
      {
        file: 'src/core/replica/replica.ts',
        find: 'function written(key: StoreKey, container: Container): { container: Uint8Array; digest: Digest; live: boolean } {\n',
        replace:
          'function written(key: StoreKey, whole: Container): { container: Uint8Array; digest: Digest; live: boolean } {\n  const container = withStableContextDropped(whole)\n',
      },
    ],
  },
  {
    pitfall: 'P2',
    name: 'a tab that forgot everything counts from one again',
    killedBy: 'amnesia-coordinator',
    changes: SAME_ACTOR_IN_EVERY_LIFE,
  },
  {
    pitfall: 'P2',
    name: 'a tab set back to an old backup counts from one again',
    killedBy: 'restore-old-backup',
    changes: SAME_ACTOR_IN_EVERY_LIFE,
  },
  {
    pitfall: 'P2',
    name: 'a tab with somebody else’s disk counts from one again',
    killedBy: 'disk-swap',
    changes: SAME_ACTOR_IN_EVERY_LIFE,
  },
  {
    pitfall: 'P3',
    name: 'a key created anew restarts its counter under the old actor',
    killedBy: 'doomstone-fallback',
    byItsOwnClaim: true,
    changes: [
      {
        file: 'src/core/node.ts',
        find: '        this.forgettings.note(agreed.map(({ key }) => key))\n',
        replace:
          "        this.forgettings.note(agreed.map(({ key }) => key))\n        for (const { key } of agreed) this.minter['counters'].delete(key)\n",
      },
    ],
  },
  {
    pitfall: 'P4',
    name: 'tombstones are forgotten without those who are away',
    killedBy: 'zombie-long-absent',
    changes: [
      {
        file: 'src/core/sync/reaping.ts',
        find: "      .filter((record) => record.state !== 'left' && record.node !== this.routing.self)\n",
        replace: "      .filter((record) => record.state === 'up' && record.node !== this.routing.self)\n",
      },
    ],
  },
  {
    pitfall: 'P4',
    name: 'everybody agrees to forget a tombstone, again and again, and nobody does',
    killedBy: 'transfer-vs-purge',
    changes: [
      {
        file: 'src/core/sync/reaping.ts',
        find: '    for (const commit of [false, true]) {\n',
        replace: '    for (const commit of [false, false]) {\n',
      },
      { file: 'src/core/sync/reaping.ts', find: '    await this.forget(entries)\n', replace: '' },
    ],
  },
  {
    pitfall: 'P5',
    name: 'tombstones are forgotten while a hint with the old value waits',
    killedBy: 'hint-vs-purge',
    changes: ASK_ONLY_HOMES,
  },
  {
    pitfall: 'P6',
    name: 'tombstones are forgotten while a former home still has the old value',
    killedBy: 'transfer-vs-purge',
    changes: ASK_ONLY_HOMES,
  },
  {
    pitfall: 'P7',
    name: 'each home drops expired values by itself, without a tombstone',
    killedBy: 'ttl-skew',
    changes: [
      {
        file: 'src/core/node.ts',
        find: 'expire: (key, expired) => this.coordinator.expire(key, expired).outcome,',
        replace:
          'expire: async (key) => { const [container] = await this.replica.readEach([key]); if (container) await this.replica.settle([{ key, digest: digestOf(key, container), to: () => undefined }]) },',
      },
      {
        file: 'src/core/node.ts',
        find: "import type { Tuning } from './tuning.js'",
        replace: "import type { Tuning } from './tuning.js'\nimport { digestOf } from './versions/encoding.js'",
      },
    ],
  },
  {
    pitfall: 'P8',
    name: 'plain version vectors: a put replaces all or nothing',
    killedBy: 'interleaved-writers',
    changes: [
      {
        file: 'src/core/versions/container.ts',
        find: '  if (isEmpty(a.context)) return b\n',
        replace:
          '  if (isEmpty(a.context)) return b\n  const all = joinContexts(a.context, b.context)\n  if (descends(a.context, b.context)) return a\n  if (descends(b.context, a.context)) return b\n  return { siblings: [...a.siblings, ...b.siblings.filter(({ dot }) => !hasDot(a, dot))].sort((x, y) => compareDots(x.dot, y.dot)), context: all }\n',
      },
    ],
  },
  {
    pitfall: 'P9',
    name: 'a handed-on version gets a dot of its own again',
    killedBy: 'hint-basic',
    changes: [
      {
        file: 'src/core/requests/serve.ts',
        find: '      context.observe(decoded)\n',
        replace:
          '      context.observe(decoded)\n      if (!fresh) for (const entry of decoded) { const siblings = entry.container.siblings.map((sibling) => ({ ...sibling, dot: { ...sibling.dot, counter: sibling.dot.counter + 100 } })); entry.container = { siblings, context: { vector: new Map([...entry.container.context.vector].map(([actor, n]) => [actor, n + 100])), cloud: new Map() } } }\n',
      },
    ],
  },
  {
    pitfall: 'P10',
    name: 'the requests of every life count from one',
    killedBy: 'answers-to-a-former-life',
    changes: [{ file: 'src/core/peers.ts', find: 'this.nextId = firstId(self.life)', replace: 'this.nextId = 1' }],
  },
  {
    pitfall: 'P10',
    name: 'a repeated send is another write',
    killedBy: 'retry-idempotent',
    changes: [
      {
        file: 'src/core/requests/put.ts',
        find: '      if (attempt < MAX_ATTEMPTS && routing.isReachable(node) && !peers.isMoving(node))\n        this.send(node, this.standIns.get(node), bytes)\n',
        replace:
          '      const { siblings: [sibling] } = this.entry.container\n      if (!sibling || !routing.isReachable(node)) continue\n      const dot = { ...sibling.dot, counter: sibling.dot.counter + 1000 * attempt }\n      this.send(node, this.standIns.get(node), encodeContainer({ siblings: [{ ...sibling, dot }], context: { vector: new Map(), cloud: new Map([[dot.actor, new Set([dot.counter])]]) } }))\n',
      },
    ],
  },
  {
    pitfall: 'P11',
    name: 'a new home says "not found" before it has its data',
    killedBy: 'join-under-slow-links',
    changes: [
      {
        file: 'src/core/replica/duties.ts',
        find: '    return this.whole.has(partition) && this.isOnDuty(partition)\n',
        replace: '    return this.homes.has(partition) || this.standIns.has(partition)\n',
      },
    ],
  },
  {
    pitfall: 'P12',
    name: 'the node’s name is its actor, also after it has left and come back',
    killedBy: 'leave-rejoin',
    byItsOwnClaim: true,
    changes: SAME_ACTOR_IN_EVERY_LIFE,
  },
  {
    pitfall: 'P13',
    name: 'several nodes share an actor',
    killedBy: 'baseline-causal',
    changes: [
      {
        file: 'src/core/minter.ts',
        find: 'return actorOf(this.node, this.random.id(RANDOM_LENGTH))',
        replace: "return actorOf('same-node-' as NodeId, 'A'.repeat(RANDOM_LENGTH))",
      },
    ],
  },
  {
    pitfall: 'P14',
    name: 'a strict quorum counts stand-ins',
    killedBy: 'strict-vs-sloppy',
    changes: [
      {
        file: 'src/core/requests/put.ts',
        find: '    if (this.options.strictQuorum) return this.homeAcks()\n',
        replace: '',
      },
    ],
  },
  {
    pitfall: 'P15',
    name: 'a session shows what the last read found, whatever it had shown before',
    killedBy: 'session-goes-forward',
    changes: [
      {
        file: 'src/store/session.ts',
        find: 'const merged = mergeContainers(former?.container ?? EMPTY_CONTAINER, container)',
        replace: 'const merged = container',
      },
    ],
  },
  {
    pitfall: 'P16',
    name: 'an empty stand-in’s "not found" is a vote',
    killedBy: 'cold-restart-subset',
    changes: [
      {
        file: 'src/core/requests/get.ts',
        find: '    return answer.complete || answer.digest !== undefined\n',
        replace: '    return true\n',
      },
    ],
  },
  {
    pitfall: 'P17',
    name: 'an answer that comes after the decision is thrown away',
    killedBy: 'read-repair-notfound',
    changes: [
      {
        file: 'src/core/requests/get.ts',
        find: '      if (answer) this.answers.set(node, answer)\n',
        replace: '      if (answer && this.resolve) this.answers.set(node, answer)\n',
      },
    ],
  },
  {
    pitfall: 'P18',
    name: 'a read writes its answer to every home',
    killedBy: 'read-no-write',
    changes: [
      {
        file: 'src/core/requests/read-repair.ts',
        find: '  if (stale.length === 0) return\n  await new',
        replace: '  stale = routing.homes(key)\n  await new',
      },
      {
        file: 'src/core/requests/read-repair.ts',
        find: '  stale = await stillBehind(key, merged, stale, context)\n',
        replace: '',
      },
    ],
  },
  {
    pitfall: 'P19',
    name: 'read repairs without a limit',
    killedBy: 'aae-flood',
    changes: [
      {
        file: 'src/core/requests/coordinator.ts',
        find: 'mayRepair: () => !forgettings.since(begun, key) && this.repairs.take(),',
        replace: 'mayRepair: () => true,',
      },
    ],
  },
  {
    pitfall: 'P20',
    name: 'background work without a budget',
    killedBy: 'aae-flood',
    changes: [
      {
        file: 'src/core/background.ts',
        find: '      this.waiting.push({ kind, since: this.clock.now(), go: resolve, giveUp: reject })\n      this.pump()\n',
        replace: '      void kind\n      void reject\n      resolve()\n',
      },
    ],
  },
  {
    pitfall: 'P20',
    name: 'a write on its way is a difference to be repaired',
    killedBy: 'aae-in-flight',
    changes: [
      {
        file: 'src/core/sync/exchange.ts',
        find: '    if (how.settle && differences.length > 0) {\n',
        replace: '    if (how.settle && differences.length < 0) {\n',
      },
    ],
  },
  {
    pitfall: 'P21',
    name: 'a request to a silent peer waits for ever',
    killedBy: 'sync-with-frozen-peer',
    changes: [
      { file: 'src/core/sync/exchange.ts', find: 'const TIMEOUT_MS = 10_000', replace: 'const TIMEOUT_MS = 1e12' },
    ],
  },
  {
    pitfall: 'P22',
    name: 'the Merkle trees are not there at start',
    killedBy: 'cold-restart-subset',
    changes: [{ file: 'src/core/node.ts', find: '    node.replica.forest.update(state.leafGroups)\n', replace: '' }],
  },
  {
    pitfall: 'P23',
    name: 'hints are sent to a slow home again and again',
    killedBy: 'hint-storm',
    changes: DELIVERED_AGAIN_AND_AGAIN,
  },
  {
    pitfall: 'P23',
    name: 'hints are sent to a flapping home again and again',
    killedBy: 'hint-flap',
    changes: DELIVERED_AGAIN_AND_AGAIN,
  },
  {
    pitfall: 'P25',
    name: 'hints for a home that is none any more are kept for it',
    killedBy: 'hint-orphan',
    changes: [
      {
        file: 'src/core/requests/handoff.ts',
        find: '    this.rerouteAgain = this.rerouting\n',
        replace: '    if (this.tuning) return\n    this.rerouteAgain = this.rerouting\n',
      },
    ],
  },
  {
    pitfall: 'P25',
    name: 'hints for a home that is none any more are dropped',
    killedBy: 'hint-orphan',
    changes: [
      {
        file: 'src/core/replica/replica.ts',
        find: '        if (current && homes.length > 0) return { ...current, homes: [...homes] }\n',
        replace: '        if (current && homes.length > 0) return undefined\n',
      },
    ],
  },
  {
    pitfall: 'P26',
    name: 'a restarted holder does not look for its hints',
    killedBy: 'hint-holder-restarts',
    changes: [
      {
        file: 'src/core/node.ts',
        find: '    for (const { key, homes, own } of hints) node.replica.hints.set(key, { homes, own })\n',
        replace: '',
      },
    ],
  },
  {
    pitfall: 'P27',
    name: 'a transfer whose peer vanished keeps its slot',
    killedBy: 'transfer-peer-vanishes',
    changes: [
      {
        file: 'src/core/peers.ts',
        find: '    for (const pending of [...this.pending.values()]) if (pending.to === node) pending.finish(undefined)\n',
        replace: '',
      },
      { file: 'src/core/sync/exchange.ts', find: 'const TIMEOUT_MS = 10_000', replace: 'const TIMEOUT_MS = 1e12' },
    ],
  },
  {
    pitfall: 'P28',
    name: 'the estimate of the load never falls, and background work waits for ever',
    killedBy: 'hint-storm',
    changes: [
      {
        file: 'src/core/background.ts',
        find: '    if (this.running === 0 && this.clock.now() - this.lastForeground > BUSY_MS) return 0\n',
        replace:
          '    if (this.running === 0 && this.lastForeground === Number.NEGATIVE_INFINITY) return 0\n    return 1e9\n',
      },
    ],
  },
  {
    pitfall: 'P30',
    name: 'of two records that tie, the other side’s wins',
    killedBy: 'ring-tie',
    changes: [
      {
        file: 'src/core/membership/records.ts',
        find: '  return describe(a) >= describe(b) ? a : b\n',
        replace: '  return b\n',
      },
    ],
  },
  {
    pitfall: 'P33',
    name: 'members are not remembered on disk',
    killedBy: 'cold-restart-subset',
    changes: [
      {
        file: 'src/core/node.ts',
        find: "    node.membership.restore(state.meta.get('members'), state.meta.get('heard'), state.meta.get('met'))\n",
        replace: '',
      },
    ],
  },
  {
    pitfall: 'P34',
    name: 'a former home drops its copy after a while, without asking',
    killedBy: 'join-under-slow-links',
    changes: [
      {
        file: 'src/core/sync/transfers.ts',
        find: "    for (const heir of heirs) {\n      const { complete } = await this.exchange.with(heir, [partition], { kind: 'transfer', settle: false, give: true })\n      if (!complete) return false\n    }\n",
        replace: '',
      },
      {
        file: 'src/core/sync/transfers.ts',
        find: '    for (const heir of heirs) if ((await this.exchange.differing(heir, [partition], true))?.length !== 0) return false\n',
        replace: '',
      },
    ],
  },
  {
    pitfall: 'P25',
    name: 'who leaves drops its hints for members that are away',
    killedBy: 'leave-without-absentees',
    changes: [
      {
        file: 'src/core/requests/handoff.ts',
        find: '      if (await this.storeAt(holder, some, asReplica ? [home, holder] : [home]))\n',
        replace: '',
      },
    ],
  },
  {
    pitfall: 'P35',
    name: 'a node’s placement depends on who computes it',
    killedBy: 'concurrent-admins',
    changes: [
      {
        file: 'src/core/membership/membership.ts',
        find: 'placement(this.up(), this.partitions, n)',
        replace:
          'placement(this.up().map((record) => record.node === this.own.node ? { ...record, capacity: 2 * record.capacity } : record), this.partitions, n)',
      },
    ],
  },
  {
    pitfall: 'P36',
    name: 'two copies on one device',
    killedBy: 'zone-loss',
    changes: [
      {
        file: 'src/core/ring/claims.ts',
        find: '    members.map((member) => devices.indexOf(member.device)),\n',
        replace: '    members.map((_, i) => i),\n',
      },
      {
        file: 'src/core/ring/claims.ts',
        find: '    Math.max(0, copies - devices.length),\n',
        replace: '    Math.max(0, copies - members.length),\n',
      },
    ],
  },
  {
    pitfall: 'P39',
    name: 'a put replaces nothing that it saw: the times in the values alone decide',
    killedBy: 'clock-scramble',
    changes: [
      {
        file: 'src/core/requests/coordinator.ts',
        find: '    const container = writtenContainer(context, sibling)\n',
        replace: '    const container = writtenContainer(context === undefined ? context : EMPTY_CONTEXT, sibling)\n',
      },
    ],
  },
  {
    pitfall: 'P40',
    name: 'a scan that not everybody answered says that it is complete',
    killedBy: 'coverage-partial',
    changes: [
      {
        file: 'src/core/requests/scan.ts',
        find: '  private covers(streams: Stream[]): boolean {\n',
        replace: '  private covers(streams: Stream[]): boolean {\n    if (streams.length > 0) return true\n',
      },
    ],
  },
  {
    pitfall: 'P41',
    name: 'a read that failed is "not found"',
    killedBy: 'storage-full',
    changes: [
      {
        file: 'src/core/guarded.ts',
        find: "      return { type: 'Failed', kind: error instanceof StorageFailure ? error.kind : 'malformed' }\n",
        replace:
          "      return { type: 'ReadResult', digest: new Uint8Array(0), container: undefined, complete: true }\n",
      },
    ],
  },
  {
    pitfall: 'P6',
    name: 'a copy of a key that lives elsewhere outlives the tombstone of the key',
    killedBy: 'copy-and-tombstone',
    changes: [{ file: 'src/core/node.ts', find: '        await this.copies.settle(agreed)\n', replace: '' }],
  },
  {
    pitfall: 'P16',
    name: 'a node whose disk was deleted under it still vouches for what it has not',
    killedBy: 'disk-deleted-under-it',
    changes: [
      {
        file: 'src/core/node.ts',
        find: '    this.copies.lost()\n    this.duties.distrustAll()\n',
        replace: '    this.copies.lost()\n',
      },
    ],
  },
  {
    pitfall: 'P25',
    name: 'an adopter gives a closed tab’s records up without a hint for homes that lack them',
    killedBy: 'slots-adopted',
    changes: [
      {
        file: 'src/core/requests/adoption.ts',
        find: '        const hintFor = homes.filter((home) => home !== routing.self && !holding.get(key)?.has(home))\n',
        replace: '        const hintFor: NodeId[] = []\n        holding.delete(key)\n',
      },
    ],
  },
  {
    pitfall: 'P43',
    name: 'a tab that was paused takes everybody else for dead',
    killedBy: 'old-ring-resume',
    changes: [
      {
        file: 'src/core/node.ts',
        find: '    this.membership.startListening()\n',
        replace: '',
      },
      // Its two opinions, on links and on members, each have to forgive.
      {
        file: 'src/core/membership/failure-detector.ts',
        find: 'if (lateMs > 2 * this.intervalMs) {',
        replace: 'if (lateMs < 0) {',
      },
    ],
  },
]

export const absent: Absent[] = [
  {
    pitfall: 'P24',
    name: 'hints reject healthy traffic',
    reason: 'there is no cap on hints in flight that could refuse a put: a hint is a row, merged per key',
  },
  {
    pitfall: 'P29',
    name: 'failing handoff makes more sync and repair',
    reason:
      'the ranks of the one budget decide an order within a second and nothing else; test/unit/background.test.ts holds them',
  },
  {
    pitfall: 'P31',
    name: 'forced ring updates while a member is down',
    reason: 'nobody updates a ring: the placement is a function of the member records',
  },
  {
    pitfall: 'P32',
    name: 'crash inside a ring merge',
    reason: 'records have one shape, checked at the door (test/unit/wire.test.ts); there is no resizing',
  },
  {
    pitfall: 'P37',
    name: 'too many virtual nodes',
    reason: 'Q partitions with spaced claims; test/properties/ring.test.ts holds balance, spread and movement',
  },
  {
    pitfall: 'P38',
    name: 'hot partitions',
    reason: 'there are no limits per partition to waste; the scenario hot-key watches the other keys',
  },
  {
    pitfall: 'P42',
    name: 'metastable caches',
    reason: 'every node holds the whole member list; there is no cache of it to be cold',
  },
]
