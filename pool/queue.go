package pool

import "container/heap"

// A queue is a deque a priority. Priority 0, which is everybody's until somebody
// asks for another, is found without a look at the rest.
type queue struct {
	normal deque
	others levels // the non-empty ones, the highest on top
	byPrio map[int]*level
}

type level struct {
	deque
	prio int
}

type levels []*level

func (l levels) Len() int           { return len(l) }
func (l levels) Less(i, j int) bool { return l[i].prio > l[j].prio }
func (l levels) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }
func (l *levels) Push(x any)        { *l = append(*l, x.(*level)) }
func (l *levels) Pop() any {
	old := *l
	last := len(old) - 1
	x := old[last]
	old[last] = nil
	*l = old[:last]
	return x
}

// of returns the deque of a priority, for a push to follow.
func (q *queue) of(prio int) *deque {
	if prio == 0 {
		return &q.normal
	}
	l := q.byPrio[prio]
	if l == nil {
		if q.byPrio == nil {
			q.byPrio = map[int]*level{}
		}
		l = &level{prio: prio}
		q.byPrio[prio] = l
		heap.Push(&q.others, l)
	}
	return &l.deque
}

// any reports whether top could find something.
func (q *queue) any() bool { return q.normal.n > 0 || len(q.others) > 0 }

// top returns the highest non-empty deque and its priority, or nil.
func (q *queue) top() (*deque, int) {
	for len(q.others) > 0 {
		l := q.others[0]
		switch {
		case l.n == 0: // emptied since: levels go lazily
			heap.Pop(&q.others)
			delete(q.byPrio, l.prio)
			continue
		case l.prio > 0 || q.normal.n == 0:
			return &l.deque, l.prio
		}
		break
	}
	if q.normal.n > 0 {
		return &q.normal, 0
	}
	return nil, 0
}

// each visits what is queued.
func (q *queue) each(visit func(Task)) {
	q.normal.each(visit)
	for _, l := range q.others {
		l.each(visit)
	}
}

func (q *queue) len() int {
	n := q.normal.n
	for _, l := range q.others {
		n += l.n
	}
	return n
}

// bury takes the dead out.
func (q *queue) bury() {
	q.normal.bury()
	for _, l := range q.others {
		l.bury()
	}
}
