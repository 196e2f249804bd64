package remote

import (
	"slices"
)

// A queue has the entries that were not sent, by priority.
type queue struct {
	levels []*level // the highest first
	n      int
}

type level struct {
	prio int
	list []*entry
}

func (q *queue) push(e *entry, front bool) {
	i, found := slices.BinarySearchFunc(q.levels, e.req.Priority, func(l *level, prio int) int {
		switch {
		case l.prio > prio:
			return -1
		case l.prio < prio:
			return 1
		}
		return 0
	})
	if !found {
		q.levels = slices.Insert(q.levels, i, &level{prio: e.req.Priority})
	}
	l := q.levels[i]
	if front {
		l.list = slices.Insert(l.list, 0, e)
	} else {
		l.list = append(l.list, e)
	}
	q.n++
}

// remove takes an entry out that is known to be in it.
func (q *queue) remove(e *entry) {
	for i, l := range q.levels {
		if l.prio != e.req.Priority {
			continue
		}
		if at := slices.Index(l.list, e); at >= 0 {
			l.list = slices.Delete(l.list, at, at+1)
			q.n--
			if len(l.list) == 0 {
				q.levels = slices.Delete(q.levels, i, i+1)
			}
		}
		return
	}
}

// position is how many are before e, or -1.
func (q *queue) position(e *entry) int {
	n := 0
	for _, l := range q.levels {
		for _, o := range l.list {
			switch {
			case o == e:
				return n
			case o.run != nil:
				n += o.run.left()
			default:
				n++
			}
		}
	}
	return -1
}
