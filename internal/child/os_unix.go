//go:build unix

package child

import (
	"fmt"
	"os"
	"syscall"
)

func supported() error { return nil }

// identity names a pipe's end so that whoever inherits it can tell it from all others.
func identity(f *os.File) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	return identityOf(info.Sys().(*syscall.Stat_t)), nil
}

func identityOf(st *syscall.Stat_t) string { return fmt.Sprintf("%d:%d", st.Dev, st.Ino) }

// adopt takes over the two inherited descriptors, if they are the ones that m names. It doesn't
// touch any others: they are somebody else's.
func adopt(m mark) (lifeline, reports *os.File, ok bool) {
	if !isPipe(lifelineFD, m.lifeline) || !isPipe(reportsFD, m.reports) {
		return nil, nil, false
	}
	for _, fd := range []int{lifelineFD, reportsFD} {
		syscall.CloseOnExec(fd)
		// So that the runtime's poller waits for it, and not a thread of its own.
		_ = syscall.SetNonblock(fd, true)
	}
	return os.NewFile(lifelineFD, "lifeline"), os.NewFile(reportsFD, "reports"), true
}

func isPipe(fd int, identity string) bool {
	var st syscall.Stat_t
	return syscall.Fstat(fd, &st) == nil && uint32(st.Mode)&syscall.S_IFMT == syscall.S_IFIFO && identityOf(&st) == identity
}

func signalOf(state *os.ProcessState) string {
	if s, ok := state.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return s.Signal().String()
	}
	return ""
}
