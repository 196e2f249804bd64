package executor

import (
	"context"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A ctx may live for ever. What an executor leaves with it, so as to be told of its end,
// goes when the executor is closed, or is asked with another ctx.
func TestExecutorLeavesACtx(t *testing.T) {
	for name, leave := range map[string]func(l *Local){
		"by Close":       func(l *Local) { require.NoError(t, l.Close()) },
		"by another ctx": func(l *Local) { Submit(context.Background(), l, sleepDeaf, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			l, err := NewLocal(Config{Threads: 1})
			require.NoError(t, err)
			defer l.Close()
			use := func() weak.Pointer[scope] {
				for range 3 {
					_, err := Submit(ctx, l, sleepDeaf, time.Millisecond).Result(ctx)
					require.NoError(t, err)
				}
				return weak.Make(l.base.recent.Load())
			}
			s := use()
			runtime.GC()
			require.NotNil(t, s.Value(), "it is the one that was asked with last")
			leave(l)
			for range 10 {
				runtime.GC()
			}
			assert.Nil(t, s.Value())
		})
	}
}

// Only where it takes no goroutine to be told is something left.
func TestStandardContexts(t *testing.T) {
	ctx := t.Context()
	type key struct{}
	assert.True(t, standard(ctx))
	assert.True(t, standard(context.WithValue(ctx, key{}, 1)))
	assert.True(t, standard(deadline(t, time.Hour)))
	assert.False(t, standard(context.Background()))
	assert.False(t, standard(context.WithoutCancel(ctx)))
	assert.False(t, standard(strangeCtx{ctx, make(chan struct{})}))
}

// A strangeCtx has a Done of its own.
type strangeCtx struct {
	context.Context
	done chan struct{}
}

func (s strangeCtx) Done() <-chan struct{} { return s.done }
