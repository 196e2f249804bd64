//go:build race

package executor_test

// less divides what is large: the race detector makes it some twenty times slower.
const less = 10
