package executor

import "os"

// The environment of ConfigFromEnv.
const (
	envExecutor  = "NEARFAR_EXECUTOR"
	envToken     = "NEARFAR_TOKEN"
	envTokenFile = "NEARFAR_TOKEN_FILE"
	envCert      = "NEARFAR_TLS_CERT"
	envKey       = "NEARFAR_TLS_KEY"
	envCA        = "NEARFAR_TLS_CA"
)

// ConfigFromEnv reads a Config from the environment. A variable that is empty counts as
// unset.
//
//   - NEARFAR_EXECUTOR is the DSN, "local://" if it is unset.
//   - NEARFAR_TOKEN is the token, or NEARFAR_TOKEN_FILE the name of a file that holds it;
//     both are an error. They are not read if the DSN has token_file.
//   - NEARFAR_TLS_CERT and NEARFAR_TLS_KEY name the files of a certificate and its key.
//     They are not read if the DSN has cert or key.
//   - NEARFAR_TLS_CA names the file of the certificates to trust. It is not read if the
//     DSN has ca.
//
// Where a backend needs no token, on local and proc, the first two are ignored, and
// where nothing leaves the machine, on local, proc and unix, the last three: they may be
// set for other programs. On tcp, where somebody may believe that they encrypt, they are
// an error.
//
// The Config is valid, and errors are ErrConfig, as those of ParseDSN. They name the
// variable, and never repeat a token.
func ConfigFromEnv() (Config, error) {
	source := map[string]string{} // by field of Config: the variable that it is from
	f := faults{at: envExecutor + ": ", name: dsnName, source: source}
	c := readDSN(os.Getenv(envExecutor), &f)
	b, _ := lookupBackend(c.Backend)
	read := func(dst *string, field, variable string) {
		*dst, source[field] = os.Getenv(variable), variable
	}
	if b.addrs != noAddrs && c.TokenFile == "" {
		read(&c.Token, "Token", envToken)
		read(&c.TokenFile, "TokenFile", envTokenFile)
	}
	if b.addrs == hostPorts || b.addrs == anyAddrs {
		if c.CertFile == "" && c.KeyFile == "" {
			read(&c.CertFile, "CertFile", envCert)
			read(&c.KeyFile, "KeyFile", envKey)
		}
		if c.CAFile == "" {
			read(&c.CAFile, "CAFile", envCA)
		}
	}
	c.check(&f)
	if err := f.join(); err != nil {
		return Config{}, err
	}
	return c, nil
}
