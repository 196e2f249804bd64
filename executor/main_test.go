package executor_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/nearfar/nearfar/executor"
)

// A program is the tests, with Default closed at the end.
type program struct{ *testing.M }

func (p program) Run() int {
	code := p.M.Run()
	executor.CloseDefault()
	return code
}

// TestMain fails if goroutines are left, but for the two that ants starts when it is imported.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(program{m},
		goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*poolCommon).purgeStaleWorkers"),
		goleak.IgnoreTopFunction("github.com/panjf2000/ants/v2.(*poolCommon).ticktock"))
}
