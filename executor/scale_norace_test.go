//go:build !race

package executor_test

const less = 1
