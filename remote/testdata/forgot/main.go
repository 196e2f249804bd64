// Program forgot never calls remote.Init. It opens an executor, which starts it again as
// a worker: then it does the same, or waits, or ends, as FORGOT says.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nearfar/nearfar/executor"
	_ "github.com/nearfar/nearfar/remote"
)

func main() {
	if os.Getenv("NEARFAR_CHILD") != "" {
		switch os.Getenv("FORGOT") {
		case "waits":
			time.Sleep(time.Minute)
		case "ends":
			return
		}
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	cfg, err := executor.ParseDSN("proc://?workers=2&connect_timeout=1s")
	if err == nil {
		_, err = executor.New(context.Background(), cfg)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(2)
}
