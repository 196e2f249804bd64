package executor

import (
	"context"
	"sync/atomic"

	"github.com/nearfar/nearfar/internal/cell"
)

// TaskInfo is what a task can know of itself.
type TaskInfo struct {
	ID      string // unique in the executor, and the same in all attempts
	Key     string // of WithKey, or ""
	Name    string // of WithName, else the function's
	Worker  string // the worker that runs it; "local" near
	Attempt int    // from 1, those after a loss included
}

// FromContext returns the executor that runs the task whose ctx this is, or one made
// from it. What is submitted to it with ctx is cancelled when the task's function
// has returned; context.WithoutCancel outlives that.
func FromContext(ctx context.Context) (Executor, bool) {
	if a := attemptOf(ctx); a != nil {
		return a.scope.ex, true
	}
	return nil, false
}

// TaskFromContext describes the task whose ctx this is, or one made from it.
func TaskFromContext(ctx context.Context) (TaskInfo, bool) {
	a := attemptOf(ctx)
	if a == nil {
		return TaskInfo{}, false
	}
	if a.info != nil {
		return a.info(), true
	}
	return a.core.Owner.(work).more().info(), true
}

func attemptOf(ctx context.Context) *Attempt {
	switch t := cell.TaskOf(ctx).(type) {
	case *Attempt:
		return t
	case *callContext:
		return t.attempt()
	}
	return nil
}

// A scope is the ctx and the executor that tasks were submitted with.
type scope struct {
	cell.Scope
	ctx  context.Context
	ex   Executor
	base *Base

	plain atomic.Pointer[plainCount] // of plain calls, once there are any
}

func hostOf(s *cell.Scope) *scope { return s.Host().(*scope) }

// scopeOf returns the scope of ctx, which most submits share with the one before.
func (b *Base) scopeOf(ctx context.Context, ex Executor) *cell.Scope {
	if s := b.recent.Load(); s != nil && cell.Same(&s.ctx, &ctx) && cell.Same(&s.ex, &ex) {
		return &s.Scope
	}
	var own *Attempt
	switch t := ctx.(type) {
	case *callContext:
		own = t.attempt()
	case *Attempt:
		own = t
	}
	if own != nil && own.scope.base == b && cell.Same(&own.scope.ex, &ex) {
		return own.OwnScope()
	}
	s := &scope{ctx: ctx, ex: ex, base: b}
	s.Init(ctx, s)
	if b.near && standard(ctx) {
		s.Stay()
	}
	b.remember(s)
	return &s.Scope
}

// remember keeps s, or nothing, for the next Submit.
func (b *Base) remember(s *scope) {
	if old := b.recent.Swap(s); old != nil {
		old.Leave()
	}
}
