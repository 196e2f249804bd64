// Package wire makes authenticated sessions between processes, with frames for control that are
// pipelined, and calls for bulk that are not. It knows nothing of what they carry.
//
// # What it promises
//
//   - Frames arrive whole, in order, once, and as they were sent, or the session ends: there is
//     no short and no wrong value (G25).
//   - Nothing from the network makes it crash, hang, or take more memory than the limits say, once
//     the peer is authenticated; before that, a connection takes a kilobyte (G25).
//   - Both sides prove that they know the token without sending it; a listener shows strangers
//     no more than its protocol versions and whether it asks for a token (G27).
//   - Send never blocks and, when warm, allocates nothing. All other waits end with a ctx, a
//     timeout, or the session.
//   - A peer that is dead, frozen or cut off is noticed within HeartbeatTimeout; a partition
//     that heals before that loses nothing (G22).
//   - A session's end has one error, ErrGone, and comes once. Nothing of it is left then.
//
// # Connections
//
// The first connection carries a yamux session with one stream, which is kept, for frames:
// writes of many frames at once, small windows. The second is made by the dialling side when
// either side makes its first call, and carries a yamux session with up to MaxCalls streams for
// each direction: large windows. So a large value never delays a small one, and
// liveness is judged where nothing large is under way. remote/PROTOCOL.md has it byte by byte.
//
// # Who writes
//
// Send only appends. What was sent is written by the session's writer, a goroutine, in one go;
// while it does, more gathers: a write costs 14 us, a frame 0.1. What is sent by a Handler's
// Frame is written by the reading goroutine itself after Idle, which saves a switch, unless it
// is much, or somebody else writes; it never waits for the peer's window, but leaves that to the
// writer, so two sides that both only write cannot block each other. Send does not write in the
// caller's goroutine: a loop of Sends would become a loop of writes, and a full socket buffer
// would block it.
package wire
