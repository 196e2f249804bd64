package remote

import (
	"runtime"
	"weak"

	"github.com/nearfar/nearfar/executor"
)

// A lineage is what is kept to compute lost values again: the arguments of their tasks.
// It is guarded by Executor.mu.
type lineage struct {
	bytes int64
	list  []ancestor // the oldest first
	clean int        // the length of list at which the dead are swept out
}

// An ancestor is a value that lives as long as its future, or what was made of it.
type ancestor struct {
	value weak.Pointer[stored]
	bytes *int64 // 0 once they count no more
}

// remember keeps what makes a value, and forgets what makes the oldest ones where that
// is more than LineageBytes. mu is held.
func (ex *Executor) remember(s *stored) {
	l := &ex.lineage
	n := sourceBytes([]executor.Source{s.req.Arg}) + sourceBytes(s.req.Refs)
	if n == 0 {
		return
	}
	if len(l.list) >= l.clean {
		kept := l.list[:0]
		for _, a := range l.list {
			if *a.bytes > 0 {
				kept = append(kept, a)
			}
		}
		clear(l.list[len(kept):])
		l.list, l.clean = kept, 2*len(kept)+64
	}
	a := ancestor{weak.Make(s), &n}
	l.list = append(l.list, a)
	l.bytes += n
	runtime.AddCleanup(s, func(bytes *int64) {
		ex.mu.Lock()
		defer ex.mu.Unlock()
		ex.lineage.bytes -= *bytes
		*bytes = 0
	}, a.bytes)
	for len(l.list) > 0 && l.bytes > ex.cfg.LineageBytes {
		oldest := l.list[0]
		l.list = l.list[1:]
		if s := oldest.value.Value(); s != nil {
			s.req = nil
		}
		l.bytes -= *oldest.bytes
		*oldest.bytes = 0
	}
}

// sourceBytes is how many bytes sources hold themselves.
func sourceBytes(list []executor.Source) (n int64) {
	for i := range list {
		n += int64(len(list[i].Data)) + sourceBytes(list[i].Parts)
	}
	return n
}
