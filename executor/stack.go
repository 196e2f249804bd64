package executor

import (
	"bytes"
	"runtime/debug"
	"slices"
)

// stackOf is the stack of a panic, to be called where it was recovered; nil after a
// Goexit, which is no panic.
func stackOf(recovered any) []byte {
	if recovered == nil {
		return nil
	}
	return debug.Stack()
}

// trimStack leaves of a stack what led to the panic: not the frames above it, which
// only took it down, and not those of this library below the function.
//
// A stack is a header line, then two lines a frame: the call, and, indented, the place.
func trimStack(stack []byte) []byte {
	header, rest, ok := bytes.Cut(stack, []byte("\n"))
	if !ok {
		return stack
	}
	lines := bytes.SplitAfter(rest, []byte("\n"))
	from := 0
	for i := 0; i+1 < len(lines); i += 2 {
		if bytes.HasPrefix(lines[i], []byte("panic(")) {
			from = i + 2 // the last one: a deferred function may have panicked anew
		}
	}
	to := from
	for to+1 < len(lines) && !ours(lines[to]) {
		to += 2
	}
	if to == from { // nothing left: better all of it than none
		from, to = 0, len(lines)
	}
	trimmed := append(append([]byte{}, header...), '\n')
	for _, line := range lines[from:to] {
		trimmed = append(trimmed, line...)
	}
	return trimmed
}

// callers are what calls functions, as a stack has them after the package's path.
var callers = []string{
	"(*task[", "(*thenTask[", "(*nodeTask[", "(*mapTask[", "(*seqTask[", "(*mapJob[", "(*Group).", "callClosure[", "strictCall[", "traced[",
}

// ours reports whether a line of a stack is a call of what calls functions.
func ours(line []byte) bool {
	name, ok := bytes.CutPrefix(line, []byte("github.com/nearfar/nearfar/executor."))
	return ok && slices.ContainsFunc(callers, func(c string) bool { return bytes.HasPrefix(name, []byte(c)) })
}
