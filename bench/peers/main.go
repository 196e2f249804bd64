// Command peers runs the same work on nearfar and on what people use today, in turn,
// and prints what a task costs in each.
//
//	go run . -near            the table, near
//	go run . -near -json      the same for programs
//	go run . -budgets         the budgets of the near executor, as ratios in this run
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
)

func main() {
	near := flag.Bool("near", false, "the near table")
	budgets := flag.Bool("budgets", false, "check the budgets of the near executor")
	asJSON := flag.Bool("json", false, "print JSON")
	rounds := flag.Int("rounds", 7, "rounds; medians are printed")
	only := flag.String("only", "", "a regular expression: only scenarios or systems that match it")
	flag.Parse()
	match, err := regexp.Compile(*only)
	if err != nil || flag.NArg() > 0 || *rounds < 1 || !*near && !*budgets {
		flag.Usage()
		os.Exit(2)
	}
	if *budgets {
		if !checkBudgets(os.Stdout, *rounds, match) {
			os.Exit(1)
		}
		return
	}
	report := Report{Machine: machine(), Rounds: *rounds}
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
		result := s.run(*rounds)
		report.Scenarios = append(report.Scenarios, result)
		if !*asJSON {
			result.print(os.Stdout)
		}
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

// Machine is what figures depend on.
type Machine struct {
	Go, OS, Arch string
	CPUs         int
	Versions     map[string]string // of the modules compared
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
