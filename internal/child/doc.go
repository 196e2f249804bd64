// Package child runs worker processes: it starts them, hands them a secret, learns when
// they are ready, reads what they print, starts them again when they die, and leaves none
// behind. It knows nothing of what they do.
//
// # The two sides
//
// A program calls Start, or Keep for several that are kept alive. The process is the same
// program, unless Config says otherwise, and calls Inherited first thing in main: there it
// finds out that it is a worker, and gets a Parent.
//
// # Lifeline
//
// A worker inherits the read end of a pipe, at descriptor 3, and the parent holds the only
// write end. The secret comes through it, and then nothing: when it ends, the parent has
// closed it or is dead, however it died. Parent.Gone tells, within milliseconds (G23).
// Pdeathsig is not used: it kills the worker when the thread that forked it ends.
//
// The kernel closes the pipe, but the worker has to see it. One that is stopped by SIGSTOP
// can't, until it is continued; nor one whose Go scheduler stands still, as in assembly
// that cannot be preempted while the garbage collector waits for it. Kill ends both, as
// long as the parent lives to do it.
//
// # Who is a worker
//
// The variable NEARFAR_CHILD says so, to be believed only if descriptors 3 and 4 are the two
// pipes that it names; then a nonce, in the variable and first in the pipe, must agree. So a
// variable that strayed into an environment makes nobody read from a descriptor of its own.
// Inherited removes it, and marks both pipes close-on-exec: what a worker starts has neither.
//
// A program that never calls Inherited would run its main again as a worker, and start
// workers of its own, without end. Start refuses that: where the variable is set and
// Inherited was not called, or did not find the pipes, it returns ErrWorker.
//
// # Signals
//
// Workers stay in the parent's process group and session. So Ctrl-C reaches them, but
// so do Ctrl-Z, fg and the terminal's hangup, as a user expects of a program, and nothing is
// left in the background of a terminal. The parent is to decide what an interrupt means:
// Parent.IgnoreInterrupt makes a worker deaf to it.
//
// # Ends
//
// Done of a Process is closed when it has been reaped, its pipes are closed, its output
// was delivered, and no goroutine of it is left. What it has started itself may live on and
// hold its output open; that delays Done by a second at most.
//
// Where processes do not inherit descriptors so, on Windows, Start returns an error
// that is errors.ErrUnsupported, and Inherited finds nothing (R15).
package child
