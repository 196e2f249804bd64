package remote_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/nearfar/nearfar/remote"
)

func TestMain(m *testing.M) {
	remote.Init()
	// Workers built with the race detector would sleep for a second before they end.
	if os.Getenv("GORACE") == "" {
		if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
			panic(err)
		}
	}
	if os.Getenv(clientVar) != "" {
		clientMain()
	}
	// Importing ants starts two goroutines, which stay.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"),
		// Some cases use executor.Default(), whose goroutines stay. No other pool is in a client.
		goleak.IgnoreAnyFunction("github.com/nearfar/nearfar/pool.(*Runner).loop"))
}
