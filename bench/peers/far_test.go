package main

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	for _, f := range atStart {
		f()
	}
	os.Exit(m.Run())
}

// startFor starts a peer for a test, or skips it where the peer is not installed.
func startFor(t *testing.T, p Peer) *far {
	f, err := p.Start()
	var missing errMissing
	if errors.As(err, &missing) {
		t.Skip(missing)
	}
	require.NoError(t, err)
	t.Cleanup(f.close)
	return f
}

// What a peer is said to do, it does, and right: each measurement checks its results.
func TestPeersDoTheWork(t *testing.T) {
	for _, p := range farPeers {
		t.Run(p.Name, func(t *testing.T) {
			f := startFor(t, p)
			took := func(d time.Duration, err error) {
				t.Helper()
				require.NoError(t, err)
				require.Positive(t, d)
			}
			if p.Submit {
				took(f.submit(10, 0))
				took(f.submit(10, 10*time.Microsecond))
			}
			if p.Trips {
				ds, err := f.trips(10)
				require.NoError(t, err)
				require.Len(t, ds, 10)
			}
			for _, m := range p.Million {
				took(f.mapped(10, 0, m.size(10)))
				took(f.mapped(2_001, 0, m.size(2_001)))
			}
			for _, m := range p.Items {
				took(f.mapped(10, 10*time.Microsecond, m.size(10)))
				took(f.mapped(101, 10*time.Microsecond, m.size(101)))
			}
			if p.Send {
				took(f.send(1 << 20))
			}
			took(f.loop(10, 10*time.Microsecond))
		})
	}
}

func TestWorkersEndWithTheirStandardInput(t *testing.T) {
	w, err := startWorker("rpc")
	require.NoError(t, err)
	t.Cleanup(w.stop)
	require.NoError(t, w.stdin.Close())
	ended := make(chan struct{})
	go func() {
		w.cmd.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		require.True(t, w.cmd.ProcessState.Success())
	case <-time.After(20 * time.Second):
		t.Fatal("the worker still runs")
	}
}

func TestAWorkerThatCannotStartIsAnError(t *testing.T) {
	_, err := startWorker("no such kind")
	require.Error(t, err)
}

// A Python peer's group is gone after close, though it was stopped in between.
func TestPythonLeavesNoProcess(t *testing.T) {
	for _, arg := range []string{"processpool", "joblib", "dask"} {
		t.Run(arg, func(t *testing.T) {
			f := startFor(t, Peer{Start: startPython(arg)})
			pid := f.pid
			require.NoError(t, syscall.Kill(-pid, 0))
			f.pause()
			f.close()
			require.Eventually(t, func() bool { return errors.Is(syscall.Kill(-pid, 0), syscall.ESRCH) }, 10*time.Second, 10*time.Millisecond)
		})
	}
}

func TestAPeerThatFailsHasANoteAndNoFigures(t *testing.T) {
	broken := &far{
		submit: func(int, time.Duration) (time.Duration, error) { return 0, errors.New("broken") },
		close:  func() {},
	}
	quick := &far{
		submit: func(n int, _ time.Duration) (time.Duration, error) { return time.Duration(n) * time.Millisecond, nil },
		close:  func() {},
	}
	run := func(f *far, n int) (float64, float64, error) {
		d, err := f.submit(n, 0)
		return float64(d) / float64(n), 0, err
	}
	system := func(name string, f *far) FarSystem {
		return FarSystem{Name: name, Peer: Peer{Name: name, Start: func() (*far, error) { return f, nil }}, Run: run}
	}
	missing := FarSystem{Name: "missing", Run: run,
		Peer: Peer{Name: "missing", Start: func() (*far, error) { return nil, errMissing("not installed: here") }}}
	s := FarScenario{Name: "s", N: 10_000, Against: "quick", Systems: []FarSystem{system("broken", broken), system("quick", quick), missing}}
	m := newFarm(t.Context())
	defer m.close()
	r := s.run(m, 3)
	require.Equal(t, FarRow{System: "broken", Note: "broken"}, r.Rows[0])
	require.Equal(t, FarRow{System: "quick", N: 1000, Value: 1e6, Min: 1e6, Max: 1e6, Ratio: 1}, r.Rows[1], "a second's worth of tasks")
	require.Equal(t, FarRow{System: "missing", Note: "not installed: here"}, r.Rows[2])
}

func TestAFarBudgetCountsTheBestPeer(t *testing.T) {
	if !hasNearfar() {
		farPeers = append(farPeers, Peer{Name: nearfarTCP})
		t.Cleanup(func() { farPeers = farPeers[:len(farPeers)-1] })
	}
	r := FarResult{
		samples: map[string][]float64{"own": {10, 20, 10}, "a": {30, 60, 99}, "b": {20, 40, 20}},
		failed:  map[string]error{"gone": errMissing("not installed: here"), "broken": errors.New("broke")},
	}
	check := func(b farBudget) (string, bool) {
		var w strings.Builder
		ok := b.check(&w, r)
		return w.String(), ok
	}
	for _, c := range []struct {
		others  []string
		limit   float64
		least   bool
		ok      bool
		verdict string
	}{
		{[]string{"a"}, 2.5, true, true, "3.000 >= 2.5     ok"},
		{[]string{"a", "b"}, 2.5, true, false, "2.000 >= 2.5     MISSED"},
		{[]string{"b"}, 2.1, false, true, "2.000 <= 2.1     ok"},
		{[]string{"a"}, 2.1, false, false, "3.000 <= 2.1     MISSED"},
		{[]string{"a", "gone"}, 2.5, true, true, "not measured: gone: not installed: here"},
		{[]string{"a", "broken"}, 2.5, true, false, "not measured: broken: broke"},
	} {
		line, ok := check(farBudget{others: c.others, own: "own", limit: c.limit, least: c.least})
		require.Contains(t, line, c.verdict)
		require.Equal(t, c.ok, ok, line)
	}
}

func TestEveryFarBudgetIsMeasured(t *testing.T) {
	if !hasNearfar() {
		own := []Mapping{{Label: ", Map"}}
		all := Peer{Submit: true, Trips: true, Send: true, Million: own, Items: own}
		before := farPeers
		for _, name := range []string{nearfarTCP, nearfarUnix} {
			all.Name = name
			farPeers = append(farPeers, all)
		}
		t.Cleanup(func() { farPeers = before })
	}
	var costs []time.Duration
	for _, c := range budgetCosts {
		costs = append(costs, c.item)
	}
	systems := map[string]bool{}
	for _, s := range append(farScenarios(costs), chunkScenarios()...) {
		for _, sys := range s.Systems {
			systems[s.Name+"|"+sys.Name] = true
		}
	}
	for _, b := range farBudgets() {
		for _, name := range append(b.others, b.own) {
			require.Contains(t, systems, b.scenario+"|"+name, b.name)
		}
	}
}
