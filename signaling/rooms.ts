/**
 * Who is in which room, and the relay between two peers of one room. Knows neither sockets nor time. Several server
 * instances would share rooms by an implementation of `Rooms` that publishes joins, leaves and messages for peers it
 * does not hold itself to a broker; this one keeps everything in memory.
 *
 * Invariant: a room exists while somebody is in it, and holds at most one member per node id.
 */
import type { Refusal, ServerMessage } from './protocol.js'

/** One joined connection. */
export interface Member {
  readonly id: string
  deliver(message: ServerMessage): void
  /** A newer connection took this member's place; it is out of the room already. */
  replaced(): void
}

export interface Rooms {
  /** Tells the room and the newcomer of each other. Returns why the room does not take it; undefined when it did. */
  join(room: string, member: Member): Refusal | undefined
  /** Tells the room that the member is gone, unless a newer one with its id took its place. */
  leave(room: string, member: Member): void
  /** Hands `data` to the peer `to` of the room, or tells the sender that it is not here. */
  relay(room: string, from: Member, to: string, data: string): void
}

export function createRooms(limits: { peersPerRoom: number; rooms: number }): Rooms {
  const rooms = new Map<string, Map<string, Member>>()

  function tellOthers(members: Map<string, Member>, about: Member, message: ServerMessage): void {
    for (const member of members.values()) if (member.id !== about.id) member.deliver(message)
  }

  return {
    join(room, member) {
      const members = rooms.get(room) ?? new Map<string, Member>()
      const former = members.get(member.id)
      if (members.size === 0 && rooms.size >= limits.rooms) return 'rooms-full'
      if (!former && members.size >= limits.peersPerRoom) return 'room-full'
      rooms.set(room, members)
      members.set(member.id, member)
      former?.replaced()
      member.deliver({ type: 'peers', ids: [...members.keys()].filter((id) => id !== member.id) })
      tellOthers(members, member, { type: 'joined', id: member.id })
      return undefined
    },

    leave(room, member) {
      const members = rooms.get(room)
      if (members?.get(member.id) !== member) return
      members.delete(member.id)
      if (members.size === 0) rooms.delete(room)
      else tellOthers(members, member, { type: 'left', id: member.id })
    },

    relay(room, from, to, data) {
      const target = rooms.get(room)?.get(to)
      if (target) target.deliver({ type: 'signal', from: from.id, data })
      else from.deliver({ type: 'left', id: to })
    },
  }
}
