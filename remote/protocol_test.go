package remote

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// kinds are the numbers and letters of PROTOCOL.md, by the constants that have them, and the
// words that stand beside them there.
var kinds = map[string]struct {
	number any
	words  string
}{
	"frameTask":         {frameTask, "task"},
	"frameCancel":       {frameCancel, "cancel"},
	"frameTake":         {frameTake, "take"},
	"frameDrop":         {frameDrop, "drop"},
	"frameChild":        {frameChild, "child"},
	"frameLease":        {frameLease, "lease"},
	"frameCut":          {frameCut, "cut"},
	"frameChildBegun":   {frameChildBegun, "child begun"},
	"frameDone":         {frameDone, "done"},
	"frameBegun":        {frameBegun, "begun"},
	"frameLate":         {frameLate, "late"},
	"frameLent":         {frameLent, "lent"},
	"frameResumed":      {frameResumed, "resumed"},
	"frameSpawn":        {frameSpawn, "spawn"},
	"frameCancelChild":  {frameCancelChild, "cancel child"},
	"frameDropChild":    {frameDropChild, "drop child"},
	"frameDraining":     {frameDraining, "draining"},
	"frameFuture":       {frameFuture, "future"},
	"frameFutureCancel": {frameFutureCancel, "cancel future"},
	"frameSlots":        {frameSlots, "slots"},
	"frameMark":         {frameMark, "mark"},
	"frameCalls":        {frameCalls, "calls"},
	"frameValues":       {frameValues, "values"},
	"sourceData":        {sourceData, "data"},
	"sourceStored":      {sourceStored, "stored"},
	"sourceMade":        {sourceMade + 1, "a slice of its parts"},
	"sourceWith":        {sourceWith, "data, with futures in it"},
	"sourceLive":        {sourceLive, "a future without an outcome"},
	"sourceFailed":      {sourceFailed, "a future that has failed"},
	"sourceCancelled":   {sourceCancelled, "a future that was cancelled"},
}

// PROTOCOL.md has every kind of frame and source, with its number.
func TestProtocolHasAllKinds(t *testing.T) {
	text, err := os.ReadFile("PROTOCOL.md")
	require.NoError(t, err)
	for name, k := range kinds {
		assert.Contains(t, string(text), fmt.Sprintf("\n| %d | %s |", k.number, k.words), name)
	}
	for word, n := range map[string]int{
		"value": outcomeValue, "stored": outcomeStored, "error": outcomeError, "none": outcomeNone, "lease": outcomeLease,
	} {
		assert.Contains(t, string(text), fmt.Sprintf("\n| %d %s |", n, word))
	}
	for _, head := range []byte{callFetch, callPut, callFrame, callRun, callStats, callScatter, callAll, callSource} {
		assert.Contains(t, string(text), fmt.Sprintf("\n| `%c`", head))
	}

	file, err := parser.ParseFile(token.NewFileSet(), "message.go", nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	letters := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		name := spec.Names[0].Name
		switch {
		case strings.HasPrefix(name, "frame"), strings.HasPrefix(name, "source"):
			assert.Contains(t, kinds, name, "a new kind: give it a row here and in PROTOCOL.md")
		case strings.HasPrefix(name, "call"):
			letters++
		}
		return true
	})
	assert.Equal(t, 8, letters, "requests; a new one needs a row in PROTOCOL.md")
}
