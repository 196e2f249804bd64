// Package pool runs tasks on a fixed number of slots: a queue, and goroutines that ants
// hosts to drain it.
package pool
