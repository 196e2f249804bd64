//go:build !unix

package child

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

func supported() error {
	return fmt.Errorf("child: worker processes on %s: %w; run near, or connect to workers that listen elsewhere", runtime.GOOS, errors.ErrUnsupported)
}

func identity(*os.File) (string, error) { return "", supported() }

func adopt(mark) (lifeline, reports *os.File, ok bool) { return nil, nil, false }

func signalOf(*os.ProcessState) string { return "" }
