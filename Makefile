# Everything that CI does is here, to be run alone. `make help` lists it.

TOOL = GOWORK=off go tool -modfile=tools/go.mod

.PHONY: help
help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

.PHONY: test
test: ## all tests of the workspace
	go test work

.PHONY: race
race: ## the same under the race detector
	go test -race work

.PHONY: lint
lint: ## formatting, vet, modernizers, staticcheck; all of it must be silent
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "gofmt would change these"; exit 1; }
	go vet work
	@test -z "$$(go fix -diff work)" || { go fix -diff work; echo "go fix would change this"; exit 1; }
	$(TOOL) staticcheck ./...
	cd bench/peers && go vet ./...

.PHONY: fuzz
fuzz: FUZZTIME ?= 30s
fuzz: ## each fuzz target for FUZZTIME (30s)
	@for p in $$(go list work); do for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do \
		echo "$$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$p || exit 1; done; done

.PHONY: bench
bench: ## the benchmarks of each package
	go test -run '^$$' -bench . -benchmem work

.PHONY: budgets
budgets: ## the budgets of the near executor, as ratios in one run
	cd bench/peers && go run . -budgets

.PHONY: peers
peers: ## the same work on other libraries, side by side
	cd bench/peers && go run . -near

.PHONY: cross
cross: ## does it build elsewhere?
	GOOS=windows GOARCH=amd64 go build ./...
	GOOS=darwin GOARCH=arm64 go build ./...
	GOOS=linux GOARCH=386 go build ./...
