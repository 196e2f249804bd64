package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/nearfar/nearfar/futures"
)

// progress draws how far a batch has come, ten times a second, if w is a terminal. stop
// takes it off again.
func progress(w *os.File, batch *futures.Batch[Table]) (stop func()) {
	if info, err := w.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() { // ends by stop
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			n, total := batch.Progress()
			const width = 40
			fmt.Fprintf(w, "\r[%-*s] %d of %d files", width, strings.Repeat("=", width*n/max(1, total)), n, total)
			select {
			case <-quit:
				fmt.Fprint(w, "\r\033[K")
				return
			case <-tick.C:
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}
