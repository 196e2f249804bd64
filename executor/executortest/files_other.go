//go:build !linux

package executortest

// openFiles is 0 where they are not to be counted without more ado.
func openFiles() int { return 0 }
