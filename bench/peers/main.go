// Command peers runs the same work on nearfar and on what people use today, in turn,
// and prints what a task costs in each.
//
//	go run . -near            the table, near
//	go run . -near -json      the same for programs
//	go run . -far             the table of client and two worker processes
//	go run . -budgets         the budgets of the near executor, as ratios in this run
//	go run . -budgets -far    those of the far ones
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/debug"
	"syscall"
)

func main() {
	for _, f := range atStart {
		f()
	}
	near := flag.Bool("near", false, "the near table")
	far := flag.Bool("far", false, "the far table: a client and two worker processes")
	budgets := flag.Bool("budgets", false, "check the budgets of the near executor, or with -far those of the far ones")
	asJSON := flag.Bool("json", false, "print JSON")
	rounds := flag.Int("rounds", 7, "rounds; medians are printed")
	only := flag.String("only", "", "a regular expression: only scenarios or systems that match it")
	flag.Parse()
	match, err := regexp.Compile(*only)
	if err != nil || flag.NArg() > 0 || *rounds < 1 || !*near && !*far && !*budgets {
		flag.Usage()
		os.Exit(2)
	}
	// Interrupted, the far scenarios stop their processes before they end.
	ctx, stop := background, func() {}
	if *far {
		ctx, stop = signal.NotifyContext(background, os.Interrupt, syscall.SIGTERM)
	}
	defer stop()
	if *budgets {
		ok := true
		if *near || !*far {
			ok = checkBudgets(os.Stdout, *rounds, match)
		}
		if *far {
			ok = checkFarBudgets(ctx, os.Stdout, *rounds, match) && ok
		}
		if !ok || ctx.Err() != nil {
			os.Exit(1)
		}
		return
	}
	report := Report{Machine: machine(), Rounds: *rounds}
	if *near {
		report.Scenarios = nearTable(match, *rounds, func(r Result) {
			if !*asJSON {
				r.print(os.Stdout)
			}
		})
	}
	if *far {
		var versions map[string]string
		report.Far, versions = farTable(ctx, match, *rounds, func(r FarResult) {
			if !*asJSON {
				r.print(os.Stdout)
			}
		})
		maps.Copy(report.Machine.Versions, versions)
	}
	if ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "interrupted")
		os.Exit(1)
	}
	if *asJSON {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "\t")
		if err := enc.Encode(report); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// nearTable runs the near scenarios that match, and shows each when it is done.
func nearTable(match *regexp.Regexp, rounds int, show func(Result)) (results []Result) {
	for _, s := range nearScenarios() {
		systems := s.Systems[:0:0]
		for _, sys := range s.Systems {
			if match.MatchString(s.Name) || match.MatchString(sys.Name) {
				systems = append(systems, sys)
			}
		}
		if len(systems) == 0 {
			continue
		}
		s.Systems = systems
		r := s.run(rounds)
		results = append(results, r)
		show(r)
	}
	return results
}

// Machine is what figures depend on.
type Machine struct {
	Go, OS, Arch string
	CPUs         int
	Versions     map[string]string // of the modules compared, and of Python's packages
}

func machine() Machine {
	m := Machine{Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0), Versions: map[string]string{}}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			m.Versions[d.Path] = d.Version
		}
	}
	return m
}
