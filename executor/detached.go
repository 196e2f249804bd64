package executor

import "context"

// detached is a ctx without its values: what a function sees that could as well run
// in another process. It still ends with the ctx.
type detached struct{ context.Context }

// cancelKey is the key by which the standard library finds its own in what a ctx is
// made of, and with it the cause of its end.
var cancelKey = func() any {
	p := &probe{}
	context.Cause(p)
	return p.key
}()

// A probe is a ctx that has ended, and remembers what it is asked for.
type probe struct {
	context.Context
	key any
}

func (p *probe) Err() error { return context.Canceled }

func (p *probe) Value(key any) any {
	p.key = key
	return nil
}

// standard reports whether the standard library finds its own in ctx, so that to be told
// of its end takes no goroutine.
func standard(ctx context.Context) bool {
	own, ok := ctx.Value(cancelKey).(context.Context)
	return ok && cancelKey != nil && own.Done() == ctx.Done()
}

func (d detached) Value(key any) any {
	if key == cancelKey && cancelKey != nil {
		return d.Context.Value(key)
	}
	return nil
}

// AfterFunc keeps the standard library from starting a goroutine, should it look for
// its own by another way one day.
func (d detached) AfterFunc(f func()) (stop func() bool) { return context.AfterFunc(d.Context, f) }
