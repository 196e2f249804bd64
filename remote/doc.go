// Package remote runs the tasks of an executor in worker processes: spawned ones on
// this machine, or ones that listen here or elsewhere.
package remote
