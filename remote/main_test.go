package remote_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/nearfar/nearfar/remote"
)

func TestMain(m *testing.M) {
	remote.Init()
	// Importing ants starts two goroutines, which stay.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreAnyFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"))
}
