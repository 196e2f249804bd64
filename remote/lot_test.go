package remote_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
)

// untilShared writes the worker's name into a file, if there is one, and takes its time
// unless two names are in it.
func untilShared(ctx context.Context, file string) (int, error) {
	if file == "" {
		return 0, nil
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, _ := executor.TaskFromContext(ctx)
	if _, err := f.WriteString(info.Worker + "\n"); err != nil {
		return 0, err
	}
	if len(whoWrote(file)) < 2 {
		time.Sleep(20 * time.Millisecond)
	}
	return 1, nil
}

func whoWrote(file string) []string {
	data, _ := os.ReadFile(file)
	names := strings.Fields(string(data))
	slices.Sort(names)
	return slices.Compact(names)
}

func init() { executor.Register(untilShared) }

// A lease looks at the clock the less often the shorter its items are. Long ones behind
// many short ones are for more than one worker all the same (G17).
func TestLongItemsBehindShortOnesAreShared(t *testing.T) {
	ctx := watch(t)
	ex := open(t, "proc://?workers=2&threads=1")
	file := tempFile(t, "names")
	items := make([]string, 40_000) // of which a lease takes a quarter, at first
	for i := 9000; i < 9200; i++ {
		items[i] = file
	}
	_, err := executor.Map(ctx, ex, untilShared, items).Results(ctx)
	require.NoError(t, err)
	require.Len(t, whoWrote(file), 2)
}
