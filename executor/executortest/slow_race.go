//go:build race

package executortest

// less divides what is large: the race detector makes it some twenty times slower.
const less = 10
