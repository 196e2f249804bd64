package main

import (
	"slices"
	"time"
)

const (
	farWorkers = 2                // processes of one thread each
	farTime    = time.Second      // for one measurement; slow peers get fewer tasks
	farLimit   = 30 * time.Second // what takes longer has failed
)

// A far is a peer that was started. What it cannot do is nil. Results are checked, outside
// of the time that is given back.
type far struct {
	submit   func(n int, item time.Duration) (time.Duration, error) // a task an item, all in flight
	trips    func(n int) ([]time.Duration, error)                   // trivial tasks, one at a time
	mapped   func(n int, item time.Duration, chunk int) (time.Duration, error)
	spread   func(n int, mean time.Duration, cost func(i, n int) float64, chunk int) (time.Duration, error)
	send     func(n int) (time.Duration, error)                     // n bytes one way
	loop     func(n int, item time.Duration) (time.Duration, error) // without workers, in the peer's language
	versions map[string]string
	pid      int // of the process that leads its group, for a peer that has one

	pause, resume func() // around each measurement; may be nil
	close         func() // ends its processes
}

// A Mapping is how a peer is asked for many items: in chunks of a size, in a number of
// chunks, or, if both are 0, as the peer itself chooses.
type Mapping struct {
	Label       string
	Size, Parts int
}

func (m Mapping) size(n int) int {
	if m.Parts > 0 {
		return max(n/m.Parts, 1)
	}
	return m.Size
}

// A Peer is a way to two worker processes of one thread, and what it is measured on.
type Peer struct {
	Name                string
	Start               func() (*far, error)
	Loop                string // the plain loop that its speed-up is against
	Submit, Trips, Send bool
	Million             []Mapping // of trivial items
	Items               []Mapping // of items that cost something
}

const (
	loopGo     = "plain loop"
	loopPython = "plain loop, Python"
)

var (
	single = Mapping{", a task an item", 1, 0}
	parts  = Mapping{", 32 chunks", 0, 32}
	chunks = Mapping{", chunks of 1000", 1000, 0}
)

// farPeers are all. A file that adds one appends to them at init.
var farPeers = []Peer{
	{Name: "raw TCP", Start: startTCP, Loop: loopGo, Send: true},
	{Name: "net/rpc", Start: startRPC, Loop: loopGo, Submit: true, Trips: true, Send: true,
		Million: []Mapping{chunks}, Items: []Mapping{single, parts}},
	{Name: "gRPC unary", Start: startGRPC, Loop: loopGo, Submit: true, Trips: true, Send: true, Items: []Mapping{single}},
	{Name: "gRPC stream", Start: startGRPCStream, Loop: loopGo, Submit: true, Trips: true,
		Million: []Mapping{chunks}, Items: []Mapping{single, parts}},
	{Name: "NATS request/reply", Start: startNATS, Loop: loopGo, Submit: true, Trips: true, Items: []Mapping{single}},
	{Name: "JetStream work queue", Start: startJetStream, Loop: loopGo, Submit: true, Trips: true, Items: []Mapping{single}},
	{Name: "ProcessPoolExecutor", Start: startPython("processpool"), Loop: loopPython, Submit: true, Trips: true,
		Million: []Mapping{chunks}, Items: []Mapping{single, parts}},
	{Name: "joblib", Start: startPython("joblib"), Loop: loopPython, Submit: true,
		Million: []Mapping{{Label: ", auto"}}, Items: []Mapping{single, {Label: ", auto"}}},
	{Name: "dask", Start: startPython("dask"), Loop: loopPython, Submit: true, Trips: true, Send: true,
		Million: []Mapping{chunks}, Items: []Mapping{single, parts}},
	{Name: "dask, saturation inf", Start: startPython("dask-inf"), Loop: loopPython, Submit: true, Trips: true,
		Million: []Mapping{chunks}, Items: []Mapping{single, parts}},
}

// A FarSystem is a peer in a scenario.
type FarSystem struct {
	Name    string
	Peer    Peer
	Against string                                           // "" is the scenario's
	Run     func(f *far, n int) (ns, p99 float64, err error) // ns is for one of n
}

// A FarScenario is one piece of work.
type FarScenario struct {
	Name    string
	Unit    string // what Value is
	N       int    // at most; fewer where they take longer than farTime, unless Rate
	Rate    bool   // Value is bytes a ns, which is GB/s; else ns
	Faster  bool   // Ratio says how much faster, not how much slower
	Against string
	Systems []FarSystem
}

const (
	sumSubmit  = "Submit, all in flight"
	sumTrips   = "a round trip, one at a time"
	sumMillion = "Map of a million ints"
	sumSend    = "64 MiB one way"
)

func itemName(item time.Duration) string { return "items of " + item.String() }

// itemCosts are measured in the table; the budgets have more.
var itemCosts = []time.Duration{time.Microsecond, 10 * time.Microsecond, 100 * time.Microsecond, time.Millisecond}

func farScenarios(costs []time.Duration) []FarScenario {
	var list []FarScenario
	whole := func(run func(*far, int) (time.Duration, error)) func(*far, int) (float64, float64, error) {
		return func(f *far, n int) (float64, float64, error) {
			d, err := run(f, n)
			return float64(d) / float64(n), 0, err
		}
	}
	submit := FarScenario{Name: sumSubmit, Unit: "ns/task", N: 100_000, Against: against(nearfarTCP, "gRPC stream")}
	round := FarScenario{Name: sumTrips, Unit: "ns, p50", N: 5_000, Against: "net/rpc"}
	mapped := FarScenario{Name: sumMillion, Unit: "ns/item", N: 1_000_000, Against: against(nearfarTCP+", Map", "ProcessPoolExecutor, chunks of 1000")}
	send := FarScenario{Name: sumSend, Unit: "GB/s", N: 64 << 20, Rate: true, Faster: true, Against: "raw TCP"}
	for _, p := range farPeers {
		if p.Submit {
			submit.Systems = append(submit.Systems, FarSystem{Name: p.Name, Peer: p,
				Run: whole(func(f *far, n int) (time.Duration, error) { return f.submit(n, 0) })})
		}
		if p.Trips {
			round.Systems = append(round.Systems, FarSystem{Name: p.Name, Peer: p, Run: tripTimes})
		}
		for _, m := range p.Million {
			mapped.Systems = append(mapped.Systems, FarSystem{Name: p.Name + m.Label, Peer: p,
				Run: whole(func(f *far, n int) (time.Duration, error) { return f.mapped(n, 0, m.size(n)) })})
		}
		if p.Send {
			send.Systems = append(send.Systems, FarSystem{Name: p.Name, Peer: p,
				Run: whole(func(f *far, n int) (time.Duration, error) { return f.send(n) })})
		}
	}
	list = append(list, submit, round, mapped, send)
	for _, item := range costs {
		s := FarScenario{Name: itemName(item), Unit: "ns/item", N: int(time.Second / 2 / item), Faster: true, Against: loopGo}
		loops := map[string]bool{}
		for _, p := range farPeers {
			if len(p.Items) > 0 && !loops[p.Loop] {
				loops[p.Loop] = true
				s.Systems = append(s.Systems, FarSystem{Name: p.Loop, Peer: p, Against: p.Loop,
					Run: whole(func(f *far, n int) (time.Duration, error) { return f.loop(n, item) })})
			}
			for _, m := range p.Items {
				s.Systems = append(s.Systems, FarSystem{Name: p.Name + m.Label, Peer: p, Against: p.Loop,
					Run: whole(func(f *far, n int) (time.Duration, error) { return f.mapped(n, item, m.size(n)) })})
			}
		}
		list = append(list, s)
	}
	return list
}

// nearfarTCP and nearfarUnix are nearfar's own peers.
const (
	nearfarTCP  = "nearfar proc tcp"
	nearfarUnix = "nearfar proc unix"
)

func hasNearfar() bool {
	return slices.ContainsFunc(farPeers, func(p Peer) bool { return p.Name == nearfarTCP })
}

// against is what ratios are to: nearfar, where this build has it.
func against(own, other string) string {
	if hasNearfar() {
		return own
	}
	return other
}

// tripTimes gives the median and the 99th percentile of n round trips.
func tripTimes(f *far, n int) (ns, p99 float64, err error) {
	ds, err := f.trips(n)
	if err != nil {
		return 0, 0, err
	}
	slices.Sort(ds)
	return float64(ds[len(ds)/2]), float64(ds[len(ds)*99/100]), nil
}
