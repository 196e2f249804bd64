package executor

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// ParseDSN reads a Config from its one-line form,
//
//	BACKEND://[host:port[,host:port...]][?key=value&...]
//
// as in "local://?threads=4", "proc://?workers=8&transport=unix",
// "tls://a.example:8786,b.example:8786?ca=ca.pem&token_file=token" and
// "unix:///run/nearfar.sock". The empty string is "local://".
//
// The keys, each at most once, are workers, threads, max_pending, strict, memory_limit,
// max_value, max_lineage, max_losses, token_file, cert, key, ca, insecure,
// connect_timeout, heartbeat_timeout, close_grace, no_workers_timeout, and those that
// the backend has registered for itself, on proc transport (tcp or unix). Sizes are
// bytes, or whole numbers with KiB, MiB, GiB or TiB; durations are Go's, as 1m30s. A
// zero is the default. Spaces, and the characters , ? & # % where they are part of an
// address or a value, are percent-encoded; a plus sign is a plus sign.
//
// A DSN is logged and shown by ps, so one that holds a token or a password is refused.
// The Config that ParseDSN returns is valid. Its errors are ErrConfig, joined where
// there are several; they list what is known where something is not, and repeat no
// credentials.
func ParseDSN(dsn string) (Config, error) {
	f := faults{at: "DSN: ", name: dsnName}
	c := readDSN(dsn, &f)
	c.check(&f)
	if err := f.join(); err != nil {
		return Config{}, err
	}
	return c, nil
}

// secretAdvice ends what is said to somebody who put a secret into a DSN.
const secretAdvice = "a DSN is logged and shown by ps and must hold no secret: " +
	"give the name of a file as token_file, or set NEARFAR_TOKEN for FromEnv, or Config.Token"

// dsnName is what a DSN calls a field of Config, or an element of Params.
func dsnName(field string) string {
	if field == "Addrs" {
		return "address"
	}
	return keyOf(strings.TrimPrefix(field, "Params."))
}

// readDSN reads what dsn says, valid or not. Where it cannot go on it gives a zero Config,
// in which check will find nothing more.
func readDSN(dsn string, f *faults) Config {
	dsn = cmp.Or(dsn, localName+"://")
	for i, r := range dsn {
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			f.addf("a space or control character at byte %d: remove it, or percent-encode it, as %%20", i)
			return Config{}
		}
	}
	if i := strings.IndexByte(dsn, '#'); i >= 0 {
		f.addf("a fragment from the # at byte %d on: remove it, or write %%23 for a # that is part of a value", i)
		return Config{}
	}
	scheme, rest, ok := strings.Cut(dsn, "://")
	if !ok || !isName(strings.ToLower(scheme), "-.+") {
		f.addf("%s is not BACKEND://..., as local:// or tcp://host:8786: %s", showAddr(anyAddrs, dsn), known(backendNames()))
		return Config{}
	}
	b, ok := lookupBackend(scheme)
	if !ok {
		f.addf("%s", unknownBackend(scheme))
		return Config{}
	}
	addrs, query, _ := strings.Cut(rest, "?")
	if credentialsIn(b.addrs, addrs, query) {
		f.addf("credentials before an @: %s", secretAdvice)
		return Config{}
	}
	c := Config{Backend: scheme}
	if !c.readAddrs(addrs, f) || !c.readQuery(b, query, f) {
		return Config{}
	}
	return c
}

// readAddrs is false if it could not make sense of them.
func (c *Config) readAddrs(text string, f *faults) bool {
	if text == "" {
		return true
	}
	for i, raw := range strings.Split(text, ",") {
		addr, err := url.PathUnescape(raw)
		if err != nil {
			f.fieldf("Addrs", "number %d: %v: write %%25 for a %% that is meant", i+1, err)
			return false
		}
		c.Addrs = append(c.Addrs, addr)
	}
	return true
}

// readQuery is false if it could not make sense of a value.
func (c *Config) readQuery(b backendEntry, query string, f *faults) bool {
	if query == "" {
		return true
	}
	var unknown []string
	seen := map[string]bool{}
	for pair := range strings.SplitSeq(query, "&") {
		rawKey, rawValue, assigned := strings.Cut(pair, "=")
		key, err := url.PathUnescape(rawKey)
		if err != nil {
			f.addf("a key with a broken escape: %v", err)
			return false
		}
		s, common := settingOf(key)
		switch {
		case key == "":
			f.addf("a setting without a key: write key=value, with one & between two of them")
			continue
		case isSecret(key):
			f.addf("%s: %s", secretWord(key), secretAdvice)
			continue
		case !common && !slices.Contains(b.keys, key):
			unknown = append(unknown, key)
			continue
		case seen[key]:
			f.addf("%s: it is there twice: give each key once", key)
			continue
		}
		seen[key] = true
		value, err := url.PathUnescape(rawValue)
		switch {
		case err != nil:
			f.addf("%s: %s: %v: write %%25 for a %% that is meant", key, quote(rawValue), err)
			return false
		case !assigned || value == "":
			f.addf("%s: it has no value: write %s=VALUE, or leave it out", key, key)
		case !common:
			if c.Params == nil {
				c.Params = url.Values{}
			}
			c.Params.Set(key, value)
		default:
			if err := s.set(c, value); err != nil {
				f.addf("%s: %s: %v", key, quote(value), err)
			}
		}
	}
	for i, key := range unknown {
		text := unknownKey(b, key, b.dsnKeys())
		if i == len(unknown)-1 {
			text += ": " + known(b.dsnKeys())
		}
		f.addf("%s", text)
	}
	return true
}

// formatDSN is String.
func formatDSN(c Config) string {
	b, _ := lookupBackend(c.Backend)
	var dsn strings.Builder
	dsn.WriteString(escape(cmp.Or(c.Backend, localName)) + "://")
	for i, addr := range c.Addrs {
		if i > 0 {
			dsn.WriteByte(',')
		}
		if hasCredentials(b.addrs, addr) {
			addr = "***" + addr[strings.LastIndexByte(addr, '@'):]
		}
		dsn.WriteString(escape(addr))
	}
	separator := "?"
	add := func(key, value string) {
		dsn.WriteString(separator + escape(key) + "=" + escape(value))
		separator = "&"
	}
	for _, s := range settings {
		if text := s.text(&c); text != "" {
			add(s.key, text)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.Params)) {
		for _, value := range c.Params[key] {
			if isSecret(key) {
				value = "***"
			}
			add(key, value)
		}
	}
	return dsn.String()
}

// escape percent-encodes all but what stands for itself everywhere in a DSN. A plus sign
// is encoded for other readers, who may take it for a space.
func escape(s string) string {
	var out strings.Builder
	for _, c := range []byte(s) {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~/:[]@*", c) >= 0 {
			out.WriteByte(c)
		} else {
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	return out.String()
}

// isSecret reports whether a key sounds as if its value were a secret.
func isSecret(key string) bool { return secretWord(key) != "" }

// secretWord is the part of a key that sounds secret, "" if none does. The name of a file
// that holds a secret is none.
func secretWord(key string) string {
	words := strings.FieldsFunc(strings.ToLower(key), func(r rune) bool { return r < 'a' || r > 'z' })
	if len(words) > 1 && words[len(words)-1] == "file" {
		return ""
	}
	for _, word := range words {
		if slices.Contains([]string{"token", "password", "passwd", "pass", "pwd", "secret"}, word) {
			return word
		}
	}
	return ""
}

// hasCredentials reports whether an address has something before an @. A path may.
func hasCredentials(k addrKind, addr string) bool {
	return strings.Contains(addr, "@") && (k != socketPaths || !rooted(addr))
}

// credentialsIn is hasCredentials for a DSN that may not be cut where its writer meant: a
// password can hold a ? and a comma.
func credentialsIn(k addrKind, addrs, query string) bool {
	if k == socketPaths && rooted(addrs) {
		return false
	}
	key, _, _ := strings.Cut(query, "=")
	plain, err := url.PathUnescape(addrs)
	return err == nil && strings.Contains(plain, "@") || strings.Contains(addrs+key, "@")
}

// quote is s for an error's text.
func quote(s string) string { return strconv.Quote(shorten(s)) }

// shorten keeps an error readable, whatever was given.
func shorten(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// showAddr is quote for what may hold a secret: before an @, or behind an equals sign.
func showAddr(k addrKind, addr string) string {
	if k == socketPaths && rooted(addr) {
		return quote(addr)
	}
	addr = strings.NewReplacer("%40", "@", "%3D", "=", "%3d", "=").Replace(addr) // it may not be decoded
	if i := strings.LastIndexByte(addr, '@'); i >= 0 {
		addr = "***" + addr[i:]
	}
	if name, _, ok := strings.Cut(addr, "="); ok {
		addr = name + "=***"
	}
	return quote(addr)
}
