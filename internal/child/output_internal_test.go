package child

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

// numbered is the lines "w 1" to "w n".
func numbered(w string, n int) (lines []string) {
	for i := range n {
		lines = append(lines, fmt.Sprint(w, " ", i+1))
	}
	return lines
}

func tailOf(lines ...[]string) []string {
	var t tail
	for _, l := range lines {
		for _, line := range l {
			t.add(line)
		}
	}
	if t.n == 0 {
		return nil
	}
	return strings.Split(t.String(), "\n")
}

func TestTail(t *testing.T) {
	crash := append([]string{"panic: boom"}, numbered("at", 60)...)
	for name, test := range map[string]struct{ lines, want []string }{
		"nothing":                      {},
		"few lines":                    {numbered("l", 3), numbered("l", 3)},
		"20":                           {numbered("l", 20), numbered("l", 20)},
		"more":                         {numbered("l", 30), numbered("l", 30)[10:]},
		"a short crash":                {crash[:15], crash[:15]},
		"one of 20 lines":              {crash[:20], crash[:20]},
		"one of 21":                    {crash[:21], crash[:21]},
		"one of 40":                    {crash[:40], crash[:40]},
		"one of 41":                    {crash[:41], append(append(crash[:20:20], "... (1 lines)"), crash[21:41]...)},
		"one of 61":                    {crash, append(append(crash[:20:20], "... (21 lines)"), crash[41:]...)},
		"a crash at the end":           {append(numbered("l", 50), crash[:5]...), append(numbered("l", 50)[35:], crash[:5]...)},
		"a crash over the edge":        {append(numbered("l", 50), crash[:25]...), crash[:25]},
		"the first of two":             {append(crash[:30:30], append([]string{"fatal error: x"}, numbered("l", 30)...)...), append(append(crash[:20:20], "... (21 lines)"), numbered("l", 30)[10:]...)},
		"a line that only mentions it": {append([]string{"recovered panic: x"}, numbered("l", 30)...), numbered("l", 30)[10:]},
	} {
		assert.Equal(t, test.want, tailOf(test.lines), name)
	}
	assert.Equal(t, "fatal error: all", tailOf([]string{"fatal error: all"}, numbered("l", 100))[0])
	long := tailOf([]string{strings.Repeat("x", 5000)})
	assert.Len(t, long[0], 1024+len(" ..."))
}

// In whatever pieces it comes, the lines are the same.
func TestLinesDoNotDependOnPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.SampledFrom([]rune("ab\r\n\n"))).Draw(t, "text")
		if rapid.Bool().Draw(t, "long") {
			text += strings.Repeat("x", maxLine+rapid.IntRange(-2, 2).Draw(t, "over")) + text
		}
		var want []string
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			if len(line) > maxLine {
				line = line[:maxLine] + cutMark
			} else {
				line = strings.TrimSuffix(line, "\r")
			}
			want = append(want, line)
		}
		var got []string
		s := &stream{name: "stdout", out: &output{line: func(_, line string) { got = append(got, line) }}}
		for rest := text; rest != ""; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "n")
			s.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		s.flush()
		if !assert.ObjectsAreEqual(want, got) {
			t.Fatalf("%.100q is not %.100q", got, want)
		}
	})
}

func TestExitErrorReads(t *testing.T) {
	for want, e := range map[string]*ExitError{
		"process 7 exited with code 0, and nothing on stderr":                         {PID: 7},
		"process 7 was ended by a signal: killed, and nothing on stderr":              {PID: 7, Code: -1, Signal: "killed"},
		"process 7 exited with code 2; its stderr:\n\tpanic: boom\n\t\n\tgoroutine 1": {PID: 7, Code: 2, Stderr: "panic: boom\n\ngoroutine 1"},
		"process 7 ended, and how is not known: gone already, and nothing on stderr":  newExitError(7, nil, fmt.Errorf("gone already"), ""),
	} {
		assert.Equal(t, want, e.Error())
	}
}
