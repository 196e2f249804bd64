package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"
)

// A farBudget is a limit on how much longer others take than own does: the least of the
// ratios counts.
type farBudget struct {
	name     string
	scenario string
	others   []string
	own      string
	limit    float64
	least    bool // the ratio must be at least limit; else at most
	what     string
}

// budgetCosts are the items that Map has a budget for, and the speed-up that it needs.
var budgetCosts = []struct {
	item    time.Duration
	speedUp float64
}{
	{100 * time.Nanosecond, 1.2},
	{time.Microsecond, 1.75},
	{10 * time.Microsecond, 1.88},
	{100 * time.Microsecond, 1.9},
	{time.Millisecond, 1.9},
	{10 * time.Millisecond, 1.9},
}

func farBudgets() []farBudget {
	list := []farBudget{
		{"Submit, against the best peer", sumSubmit, []string{"NATS request/reply", "gRPC stream"}, nearfarTCP, 2.5, true,
			"x faster than the better of NATS and gRPC stream"},
		{"Submit, against dask", sumSubmit, []string{"dask"}, nearfarTCP, 1000, true, "x faster"},
		{"Submit, against dask, saturation inf", sumSubmit, []string{"dask, saturation inf"}, nearfarTCP, 500, true, "x faster"},
		{"round trip, tcp", sumTrips, []string{nearfarTCP}, "net/rpc", 1.05, false, "x net/rpc"},
		{"round trip, unix", sumTrips, []string{nearfarUnix}, "net/rpc", 1, false, "x net/rpc"},
		{"Map of a million", sumMillion, []string{"ProcessPoolExecutor, chunks of 1000"}, nearfarTCP + ", Map", 15, true,
			"x faster than ProcessPoolExecutor, chunks of 1000"},
		{"64 MiB one way, against raw TCP", sumSend, []string{"raw TCP"}, nearfarTCP, 0.7, true, "x raw TCP"},
		{"64 MiB one way, against dask", sumSend, []string{"dask"}, nearfarTCP, 1, true, "x dask"},
	}
	for _, c := range budgetCosts {
		list = append(list, farBudget{"Map speed-up, " + itemName(c.item), itemName(c.item), []string{loopGo}, nearfarTCP + ", Map",
			c.speedUp, true, "x a plain loop"})
	}
	return append(list, chunkBudgets()...)
}

// checkFarBudgets prints each budget with what came out, or why it could not be measured.
// It is false if one was missed, if something failed, and without nearfar in the build.
func checkFarBudgets(ctx context.Context, w io.Writer, rounds int, match *regexp.Regexp) bool {
	ok := hasNearfar()
	m := newFarm(ctx)
	defer m.close()
	var costs []time.Duration
	for _, c := range budgetCosts {
		costs = append(costs, c.item)
	}
	for _, s := range append(farScenarios(costs), chunkScenarios()...) {
		var budgets []farBudget
		var systems []string
		for _, b := range farBudgets() {
			if b.scenario == s.Name && match.MatchString(b.name) {
				budgets = append(budgets, b)
				systems = append(append(systems, b.own), b.others...)
			}
		}
		if len(budgets) == 0 {
			continue
		}
		var r FarResult
		if hasNearfar() {
			s.Systems = slices.DeleteFunc(s.Systems, func(sys FarSystem) bool { return !slices.Contains(systems, sys.Name) })
			r = s.run(m, rounds)
		}
		for _, b := range budgets {
			good := b.check(w, r)
			ok = ok && good
		}
	}
	return ok
}

func (b farBudget) check(w io.Writer, r FarResult) bool {
	if !hasNearfar() {
		fmt.Fprintf(w, "%-58s not measured: this build has no nearfar\n", b.name)
		return false
	}
	least := 0.0
	for i, other := range b.others {
		v, err := r.ratio(other, b.own)
		if err != nil {
			fmt.Fprintf(w, "%-58s not measured: %v\n", b.name, err)
			var missing errMissing
			return errors.As(err, &missing) // that a peer is not installed here is no fault
		}
		if i == 0 || v < least {
			least = v
		}
	}
	good, sign := least <= b.limit, "<="
	if b.least {
		good, sign = least >= b.limit, ">="
	}
	verdict := "ok"
	if !good {
		verdict = "MISSED"
	}
	fmt.Fprintf(w, "%-58s %8.3f %s %-7.4g %-7s %s\n", b.name, least, sign, b.limit, verdict, b.what)
	return good
}
