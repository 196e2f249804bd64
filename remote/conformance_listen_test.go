package remote_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/nearfar/nearfar/executor"
	"github.com/nearfar/nearfar/executor/executortest"
)

// The conformance suite on workers that listen: two processes of two threads, which all
// cases share.
func TestConformanceListening(t *testing.T) {
	for _, backend := range []string{"tcp", "tls", "unix"} {
		t.Run(backend, func(t *testing.T) {
			sparing(t, backend == "tcp")
			dsn := listeners(t, backend, 2, 2)
			executortest.Run(t, func(t *testing.T) executor.Executor {
				cfg, err := executor.ParseDSN(dsn)
				require.NoError(t, err)
				cfg.CloseGrace = 300 * time.Millisecond
				ex, err := executor.New(t.Context(), cfg)
				require.NoError(t, err)
				return ex
			})
		})
	}
}

// listeners starts workers and says how to reach them.
func listeners(t *testing.T, backend string, workers, threads int) (dsn string) {
	t.Helper()
	token := tempFile(t, "token")
	require.NoError(t, os.WriteFile(token, []byte(rand.Text()+"\n"), 0o600))
	env := []string{"NEARFAR_TOKEN_FILE=" + token}
	query := "?token_file=" + token
	listen := backend + "://127.0.0.1:0"
	switch backend {
	case "tls":
		files := certificates(t)
		env = append(env, "NEARFAR_TLS_CERT="+files.cert, "NEARFAR_TLS_KEY="+files.key, "NEARFAR_TLS_CA="+files.ca)
		query += "&cert=" + files.cert + "&key=" + files.key + "&ca=" + files.ca
	case "unix":
		dir, err := os.MkdirTemp("", "nf") // short: a socket's path has 104 bytes
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
		listen = "unix://" + filepath.Join(dir, "w")
	}
	var addrs []string
	for i := range workers {
		at := listen
		if backend == "unix" {
			at += string(rune('0' + i))
		}
		w := startWorker(t, at+"?threads="+string(rune('0'+threads)), env...)
		_, addr, _ := strings.Cut(w.addr, "://")
		addrs = append(addrs, addr)
	}
	return backend + "://" + strings.Join(addrs, ",") + query
}

type certFiles struct{ cert, key, ca string }

// certificates makes an authority, and a certificate of it for 127.0.0.1, in files.
func certificates(t *testing.T) (f certFiles) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "nearfar test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	require.NoError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "nearfar test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	return certFiles{cert: write("cert.pem", "CERTIFICATE", der), key: write("key.pem", "EC PRIVATE KEY", keyDER), ca: write("ca.pem", "CERTIFICATE", caDER)}
}
