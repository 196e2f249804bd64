package wire

import (
	"context"
	"errors"
)

// discard is the handler of a session that is closed before it was started.
type discard struct{}

func (discard) Frame(byte, []byte) error { return nil }
func (discard) Idle()                    {}
func (discard) Closed(error)             {}
func (discard) Call(context.Context, []byte, []byte) ([]byte, [][]byte, error) {
	return nil, nil, errors.New("wire: the session is being closed")
}
