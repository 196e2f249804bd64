package wire

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// The versions of the protocol that this package speaks.
const minVersion, maxVersion = 1, 1

// magic starts both greetings. The line's end makes a web server complain at once, where it
// would wait for more otherwise.
const magic = "nearfar\n"

const (
	nonceSize    = 32
	greetingSize = 48
	proofSize    = sha256.Size
	ticketSize   = 32
)

// What a connection is for.
const (
	forControl = 'c'
	forBulk    = 'b'
)

// The sides of a handshake.
const (
	dialler  = 1
	listener = 2
)

// flagToken is set in a greeting if its sender has a token.
const flagToken = 1

// How the listening side answers a proof.
const (
	proofAccepted = 0
	proofWrong    = 1
)

// Kinds of parcels.
const (
	parcelHello   = 1 // dialler: limits, hello
	parcelTicket  = 2 // dialler, for bulk: the ticket
	parcelWelcome = 3 // listener: limits, ticket, hello
	parcelAdmit   = 4 // listener, for bulk: nothing
	parcelRefusal = 5 // listener: why, as text
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A greeting is the first that a side says: magic, lowest and highest version (2 bytes each),
// side, purpose, flags, a byte of 0, and its nonce. Numbers are little-endian everywhere.
type greeting [greetingSize]byte

func newGreeting(side, purpose byte, token []byte) (g greeting) {
	copy(g[:], magic)
	binary.LittleEndian.PutUint16(g[8:], minVersion)
	binary.LittleEndian.PutUint16(g[10:], maxVersion)
	g[12], g[13] = side, purpose
	if token != nil {
		g[14] = flagToken
	}
	rand.Read(g[16:])
	return g
}

func (g *greeting) versions() (lowest, highest uint16) {
	return binary.LittleEndian.Uint16(g[8:]), binary.LittleEndian.Uint16(g[10:])
}
func (g *greeting) side() byte    { return g[12] }
func (g *greeting) purpose() byte { return g[13] }
func (g *greeting) token() bool   { return g[14]&flagToken != 0 }

// A handshake is one run of it, of either side.
type handshake struct {
	conn     net.Conn // a *tls.Conn, or wire
	wire     *counted
	token    []byte
	dialling greeting
	answer   greeting
	version  uint16
	exporter []byte // of TLS: ties the proofs to this very connection
}

func newHandshake(conn net.Conn, wire *counted, token []byte) (*handshake, error) {
	h := &handshake{conn: conn, wire: wire, token: token}
	if conn, ok := conn.(*tls.Conn); ok {
		state := conn.ConnectionState()
		var err error
		if h.exporter, err = state.ExportKeyingMaterial("EXPORTER-nearfar-wire", nil, 32); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
		}
	}
	return h, nil
}

// dial authenticates both sides, the dialling one first: a listener shows strangers no more than
// its versions and whether it asks for a token.
func (h *handshake) dial(purpose byte) error {
	h.dialling = newGreeting(dialler, purpose, h.token)
	if _, err := h.conn.Write(h.dialling[:]); err != nil {
		return h.failed(err)
	}
	if err := h.readGreeting(&h.answer, listener); err != nil {
		return err
	}
	if err := h.agree(&h.answer, h.dialling.token(), h.answer.token()); err != nil {
		return err
	}
	if _, err := h.conn.Write(h.proof(dialler)); err != nil {
		return h.failed(err)
	}
	var verdict [1 + proofSize]byte
	if _, err := io.ReadFull(h.conn, verdict[:]); err != nil {
		return h.failed(err)
	}
	switch {
	case verdict[0] == proofWrong:
		return fmt.Errorf("%w: the other side has another token", ErrAuth)
	case verdict[0] != proofAccepted:
		return fmt.Errorf("%w: the answer to the proof makes no sense", ErrHandshake)
	case !hmac.Equal(verdict[1:], h.proof(listener)):
		return fmt.Errorf("%w: the other side cannot prove that it knows the token", ErrAuth)
	}
	return nil
}

// accept is dial on the other side.
func (h *handshake) accept() error {
	if err := h.readGreeting(&h.dialling, dialler); err != nil {
		return err
	}
	h.answer = newGreeting(listener, h.dialling.purpose(), h.token)
	if _, err := h.conn.Write(h.answer[:]); err != nil {
		return h.failed(err)
	}
	if p := h.dialling.purpose(); p != forControl && p != forBulk {
		return fmt.Errorf("%w: the purpose %q is not known here", ErrHandshake, p)
	}
	if err := h.agree(&h.dialling, h.answer.token(), h.dialling.token()); err != nil {
		return err
	}
	var proof [proofSize]byte
	if _, err := io.ReadFull(h.conn, proof[:]); err != nil {
		return h.failed(err)
	}
	verdict := make([]byte, 1, 1+proofSize)
	if !hmac.Equal(proof[:], h.proof(dialler)) {
		verdict[0] = proofWrong
		verdict = verdict[:cap(verdict)]
		_, _ = h.conn.Write(verdict)
		return fmt.Errorf("%w: the other side has another token", ErrAuth)
	}
	if _, err := h.conn.Write(append(verdict, h.proof(listener)...)); err != nil {
		return h.failed(err)
	}
	return nil
}

// agree checks what the other side's greeting says against ours. Both sides come to the same.
func (h *handshake) agree(other *greeting, mine, theirs bool) error {
	lowest, highest := other.versions()
	h.version = min(highest, maxVersion)
	if h.version < max(lowest, minVersion) {
		return fmt.Errorf("%w: %d to %d here, %d to %d there", ErrVersion, minVersion, maxVersion, lowest, highest)
	}
	switch {
	case theirs && !mine:
		return fmt.Errorf("%w: the other side asks for a token, and none is set here", ErrAuth)
	case mine && !theirs:
		return fmt.Errorf("%w: a token is set here, and the other side has none", ErrAuth)
	}
	return nil
}

// proof is what a side sends to show that it knows the token. It covers both greetings whole,
// so nobody on the way can lower a version, drop a flag, or use it elsewhere; each side has its
// own label, so none is worth anything when sent back.
func (h *handshake) proof(side byte) []byte {
	mac := hmac.New(sha256.New, h.token)
	if side == dialler {
		mac.Write([]byte("nearfar: the dialling side knows the token\n"))
	} else {
		mac.Write([]byte("nearfar: the listening side knows the token\n"))
	}
	mac.Write(h.dialling[:])
	mac.Write(h.answer[:])
	mac.Write(binary.LittleEndian.AppendUint16(nil, h.version))
	mac.Write(h.exporter)
	return mac.Sum(nil)
}

func (h *handshake) readGreeting(g *greeting, side byte) error {
	if _, err := io.ReadFull(h.conn, g[:len(magic)]); err != nil {
		return h.failed(err)
	}
	if string(g[:len(magic)]) != magic {
		return h.stranger()
	}
	if _, err := io.ReadFull(h.conn, g[len(magic):]); err != nil {
		return h.failed(err)
	}
	if g.side() != side {
		return fmt.Errorf("%w: the other side is none of a listener and who dials it", ErrHandshake)
	}
	return nil
}

// stranger says what arrived in place of a greeting. A little more of it may be on the way.
func (h *handshake) stranger() error {
	_ = h.conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	for h.wire.seen.Load() < int32(len(h.wire.first)) {
		if _, err := h.conn.Read(make([]byte, len(h.wire.first))); err != nil {
			break
		}
	}
	return fmt.Errorf("%w: something else answers, it said %s", ErrHandshake, h.wire.heard())
}

// heard quotes the first bytes that arrived.
func (c *counted) heard() string {
	first := c.first[:c.seen.Load()]
	hint := ""
	if len(first) > 1 && first[0] == 0x15 && first[1] == 0x03 {
		hint = " (which is TLS)"
	}
	return fmt.Sprintf("%q%s", first, hint)
}

// failed says why no more could be read or written.
func (h *handshake) failed(err error) error { return handshakeError(err, h.wire) }

func handshakeError(err error, wire *counted) error {
	if wrong := new(tls.CertificateVerificationError); errors.As(err, &wrong) {
		return fmt.Errorf("%w: %w", ErrAuth, err)
	}
	if unknown := new(x509.UnknownAuthorityError); errors.As(err, unknown) {
		return fmt.Errorf("%w: %w", ErrAuth, err)
	}
	// The type of a remote alert is not exported; only its text says what it is about.
	if remote := new(net.OpError); errors.As(err, &remote) && remote.Op == "remote error" {
		if text := remote.Error(); strings.Contains(text, "certificate") || strings.Contains(text, "access denied") {
			return fmt.Errorf("%w: the other side says: %w", ErrAuth, err)
		}
		return fmt.Errorf("%w: the other side says: %w", ErrHandshake, err)
	}
	said := "and it had said nothing"
	if wire.seen.Load() > 0 {
		said = "it had said " + wire.heard()
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: out of time, %s", ErrHandshake, said)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: the other side closed the connection, %s", ErrHandshake, said)
	}
	return fmt.Errorf("%w: %w, %s", ErrHandshake, err, said)
}

// A parcel is what is said once both sides are authenticated: length (4), CRC32C of what follows
// (4), kind (1), payload. The length counts kind and payload.
func (h *handshake) writeParcel(kind byte, parts ...[]byte) error {
	b := make([]byte, 8, 64)
	b = append(b, kind)
	for _, p := range parts {
		b = append(b, p...)
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)-8))
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
	if _, err := h.conn.Write(b); err != nil {
		return h.failed(err)
	}
	return nil
}

// maxParcel is what the largest parcel counts: kind, limits, ticket and hello.
const maxParcel = 1 + limitsSize + ticketSize + MaxHello

func (h *handshake) readParcel() (kind byte, payload []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(h.conn, head[:]); err != nil {
		return 0, nil, h.failed(err)
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n < 1 || n > maxParcel {
		return 0, nil, fmt.Errorf("%w: a message of %d bytes", ErrHandshake, n)
	}
	// It grows with what comes: a length costs its sender nothing.
	var b bytes.Buffer
	if _, err := io.CopyN(&b, h.conn, int64(n)); err != nil {
		return 0, nil, h.failed(err)
	}
	if crc32.Checksum(b.Bytes(), castagnoli) != binary.LittleEndian.Uint32(head[4:]) {
		return 0, nil, fmt.Errorf("%w: a wrong checksum", ErrHandshake)
	}
	return b.Bytes()[0], b.Bytes()[1:], nil
}

// limits are what a side is ready to receive: MaxFrame (4), MaxBody (8).
type limits struct {
	frame int
	body  int64
}

const limitsSize = 12

func (c *Config) limits() []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(min(int64(c.MaxFrame), 1<<30)))
	return binary.LittleEndian.AppendUint64(b, uint64(c.MaxBody))
}

// agreeLimits is the smaller of both sides' limits.
func (c *Config) agreeLimits(theirs []byte) limits {
	return limits{
		frame: int(min(int64(c.MaxFrame), 1<<30, int64(binary.LittleEndian.Uint32(theirs)))),
		body:  int64(min(uint64(c.MaxBody), binary.LittleEndian.Uint64(theirs[4:]))),
	}
}

// bounded gives a connection until the timeout or ctx's end. The function that it returns lifts
// the bound again, and is false if ctx was faster.
func bounded(ctx context.Context, conn net.Conn, timeout time.Duration) (lift func() bool) {
	deadline := time.Now().Add(timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	_ = conn.SetDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return func() bool {
		if !stop() {
			return false
		}
		_ = conn.SetDeadline(time.Time{})
		return true
	}
}
