//go:build !race

package executortest

const less = 1
