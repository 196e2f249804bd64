// Package executor submits functions and gets futures back, near or far.
package executor
