//go:build unix

package child_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/internal/child"
)

// An up is what Events.Up hears.
type up struct {
	slot, incarnation int
	p                 *child.Process
}

func TestKeeperRestartsProcesses(t *testing.T) {
	tidy(t)
	ups := make(chan up, 100)
	var mu sync.Mutex
	downs := map[string]string{}
	k, err := child.Keep(t.Context(), 2, child.Events{
		Config: func(int, int) child.Config { return as("worker") },
		Up:     func(slot, incarnation int, p *child.Process) { ups <- up{slot, incarnation, p} },
		Down: func(slot, incarnation int, exit error) {
			mu.Lock()
			defer mu.Unlock()
			e, _ := exit.(*child.ExitError)
			downs[fmt.Sprintf("%d/%d", slot, incarnation)] = fmt.Sprintf("%d %s", e.Code, e.Signal)
		},
	})
	require.NoError(t, err)
	require.Len(t, ups, 2)
	first := map[int]up{}
	for range 2 {
		u := <-ups
		first[u.slot] = u
	}
	k.Kill(0, 1)
	again := <-ups
	assert.Equal(t, []int{0, 2}, []int{again.slot, again.incarnation})
	assert.NotEqual(t, first[0].p.PID(), again.p.PID())
	<-first[0].p.Done()

	first[1].p.Terminate() // whoever ends it
	again = <-ups
	assert.Equal(t, []int{1, 2}, []int{again.slot, again.incarnation})

	k.Close(time.Minute)
	assert.NotNil(t, again.p.Exit())
	assert.Equal(t, map[string]string{"0/1": "-1 killed", "1/1": "-1 terminated", "0/2": "7 ", "1/2": "7 "}, downs)
	assert.Empty(t, ups)
}

func TestKeeperKillsWhatIsStopped(t *testing.T) {
	tidy(t)
	ups := make(chan up, 10)
	k, err := child.Keep(t.Context(), 1, child.Events{
		Config: func(int, int) child.Config { return as("busy") },
		Up:     func(slot, incarnation int, p *child.Process) { ups <- up{slot, incarnation, p} },
	})
	require.NoError(t, err)
	halt(t, (<-ups).p)
	k.Kill(0, 1)
	halt(t, (<-ups).p)
	k.Close(20 * time.Millisecond)
}

func TestKeepSaysWhyAFirstStartFailed(t *testing.T) {
	tidy(t)
	_, err := child.Keep(t.Context(), 3, child.Events{
		Config: func(slot, _ int) child.Config {
			return as([]string{"worker", "panics", "hangs"}[slot])
		},
	})
	assert.ErrorContains(t, err, "panic: no disk")
}

// Close, at whatever moment of starts, deaths and restarts, leaves nothing.
func TestCloseAtAnyMoment(t *testing.T) {
	tidy(t)
	for i := range 5 {
		k, err := child.Keep(t.Context(), 3, child.Events{
			Config: func(_, incarnation int) child.Config {
				return as([]string{"worker", "ready once", "exits 5"}[min(incarnation, 3)-1])
			},
		})
		require.NoError(t, err)
		for slot := range 3 {
			k.Kill(slot, 1)
		}
		time.Sleep(time.Duration(i) * 20 * time.Millisecond)
		k.Close(time.Second)
		assert.Empty(t, children())
	}
}
