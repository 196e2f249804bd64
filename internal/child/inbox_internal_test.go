package child

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A report that is in the pipe counts, although the process is known to have ended.
func TestReportOutlivesItsProcess(t *testing.T) {
	p := &Process{done: make(chan struct{})}
	p.end(&ExitError{})
	for range 200 {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		require.NoError(t, send(w, "NONCE", []byte("report")))
		w.Close()
		in := newInbox(r, "NONCE")
		assert.NoError(t, p.await(t.Context(), in, time.Minute))
		assert.Equal(t, "report", string(in.report))
		in.close()
	}
}

func TestReportThatMakesNoSense(t *testing.T) {
	for name, sent := range map[string]string{
		"of another":   "OTHER\x00\x00\x00\x01x",
		"without end":  "NONCE\xff\xff\xff\xff",
		"a byte above": "NONCE\x00\x10\x00\x01",
	} {
		p := &Process{done: make(chan struct{})}
		r, w, err := os.Pipe()
		require.NoError(t, err)
		_, err = w.WriteString(sent)
		require.NoError(t, err)
		in := newInbox(r, "NONCE")
		assert.ErrorContains(t, p.await(t.Context(), in, time.Minute), "makes no sense", name)
		in.close()
		w.Close()
	}
}
