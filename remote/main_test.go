package remote_test

import (
	"fmt"
	"os"
	"runtime/pprof"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearfar/nearfar/remote"
)

func TestMain(m *testing.M) {
	profileWorker()
	remote.Init()
	if os.Getenv(clientVar) != "" {
		clientMain()
	}
	// Importing ants starts two goroutines, which stay.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"))
}

// profileWorker profiles each process for as long as NEARFAR_TEST_PROFILE says, into a
// file /tmp/worker.PID.prof: a worker has no other way to be profiled.
func profileWorker() {
	d, err := time.ParseDuration(os.Getenv("NEARFAR_TEST_PROFILE"))
	if err != nil || len(os.Args) > 1 {
		return
	}
	f, err := os.Create(fmt.Sprintf("/tmp/worker.%d.prof", os.Getpid()))
	if err != nil || pprof.StartCPUProfile(f) != nil {
		return
	}
	time.AfterFunc(d, pprof.StopCPUProfile)
}
