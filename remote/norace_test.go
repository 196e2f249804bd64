//go:build !race

package remote_test

const withRace = false
