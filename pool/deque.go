package pool

// A deque is a double-ended queue of tasks, in segments, so that it neither
// moves nor keeps what a burst made it hold.
type deque struct {
	first, last *segment
	n           int
	spare       *segment // one, to be used again
}

type segment struct {
	next   *segment
	lo, hi int // filled are tasks[lo:hi]
	tasks  [segmentLen]Task
}

const segmentLen = 254 // 4 KiB with the rest

func (d *deque) segment() *segment {
	if s := d.spare; s != nil {
		d.spare = nil
		return s
	}
	return new(segment)
}

func (d *deque) pushBack(t Task) {
	s := d.last
	if s == nil || s.hi == segmentLen {
		s = d.segment()
		s.lo, s.hi = 0, 0
		if d.last == nil {
			d.first = s
		} else {
			d.last.next = s
		}
		d.last = s
	}
	s.tasks[s.hi] = t
	s.hi++
	d.n++
}

func (d *deque) pushFront(t Task) {
	s := d.first
	if s == nil || s.lo == 0 {
		s = d.segment()
		s.lo, s.hi = segmentLen, segmentLen
		s.next = d.first
		if d.first == nil {
			d.last = s
		}
		d.first = s
	}
	s.lo--
	s.tasks[s.lo] = t
	d.n++
}

// front returns the first task of a deque that is not empty.
func (d *deque) front() Task { return d.first.tasks[d.first.lo] }

func (d *deque) popFront() Task {
	s := d.first
	t := s.tasks[s.lo]
	s.tasks[s.lo] = nil
	s.lo++
	d.n--
	if s.lo == s.hi {
		d.first = s.next
		if d.first == nil {
			d.last = nil
		}
		s.next = nil
		d.spare = s
	}
	return t
}

// each visits the tasks in order.
func (d *deque) each(visit func(Task)) {
	for s := d.first; s != nil; s = s.next {
		for _, t := range s.tasks[s.lo:s.hi] {
			visit(t)
		}
	}
}

// bury takes the dead tasks out.
func (d *deque) bury() {
	var alive deque
	for d.n > 0 {
		if t := d.popFront(); !t.Dead() {
			alive.pushBack(t)
		}
	}
	*d = alive
}
