package executor

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// maxSocketPath is what a unix address holds on Linux beside its final zero. Other
// systems take less, and say so when they are asked.
const maxSocketPath = 107

// Validate reports every fault of c at once, joined, each naming its field. All are
// ErrConfig. It looks at c alone: it opens no file and resolves no name.
//
// Refused is what is out of range or contradicts itself, and what the backend would
// silently do otherwise than it reads: addresses on local and proc, Workers and Threads
// where workers count their own, Strict anywhere but on local, certificates on what
// does not encrypt.
func (c Config) Validate() error {
	f := faults{at: "Config.", name: goName}
	c.check(&f)
	return f.join()
}

// goName is what Go calls a field, or with Params.KEY an element of Params.
func goName(field string) string {
	if key, ok := strings.CutPrefix(field, "Params."); ok {
		return "Params[" + quote(key) + "]"
	}
	return field
}

// A fault is one thing that is wrong with a configuration.
type fault string

func (f fault) Error() string { return string(f) }

// Is makes errors.Is find ErrConfig.
func (f fault) Is(target error) bool { return target == ErrConfig }

// faults collects what is wrong, so that all of it is told at once.
type faults struct {
	at     string                    // what is read: it begins each text
	name   func(field string) string // what a field of Config is called there
	source map[string]string         // fields that were read elsewhere, and where
	errs   []error
}

func (f *faults) addf(format string, args ...any) {
	f.errs = append(f.errs, fault("executor: "+f.at+fmt.Sprintf(format, args...)))
}

// fieldf is addf about a field.
func (f *faults) fieldf(field, format string, args ...any) {
	at := f.at
	if f.source[field] != "" {
		at = ""
	}
	f.errs = append(f.errs, fault("executor: "+at+f.called(field)+": "+fmt.Sprintf(format, args...)))
}

// called is what the reader knows a field as.
func (f *faults) called(field string) string {
	if source := f.source[field]; source != "" {
		return source
	}
	return f.name(field)
}

func (f *faults) join() error { return errors.Join(f.errs...) }

func (c Config) check(f *faults) {
	b, ok := lookupBackend(c.Backend)
	if !ok {
		f.fieldf("Backend", "%s", unknownBackend(c.Backend))
	}
	c.checkSettings(b, f)
	if c.Token != "" && c.TokenFile != "" {
		f.fieldf("Token", "set together with %s: give one of them", f.called("TokenFile"))
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		has, lacks := "CertFile", "KeyFile"
		if c.CertFile == "" {
			has, lacks = lacks, has
		}
		f.fieldf(has, "set without %s: a certificate and its key go together", f.called(lacks))
	}
	if ok {
		c.checkAddrs(b, f)
		c.checkParams(b, f)
	}
}

func (c Config) checkSettings(b backendEntry, f *faults) {
	for _, s := range settings {
		text := s.text(&c)
		switch reason, refused := b.refuses[s.field]; {
		case text == "":
		case s.negative(&c):
			f.fieldf(s.field, "%s is negative: give a positive value, or leave it out for the default", text)
		case refused:
			f.fieldf(s.field, "%s: %s does not take it: %s", quote(text), b.name, reason)
		case s.above(&c):
			f.fieldf(s.field, "%s is more than %d: give fewer", text, maxSlots)
		case strings.ContainsRune(text, 0):
			f.fieldf(s.field, "%s has a zero byte, and no file's name does: correct it", quote(text))
		}
	}
	if b.name == localName && c.Workers > 1 && c.Workers <= maxSlots {
		f.fieldf("Workers", "%d on local, where this process is the only worker: set %s instead, or use proc",
			c.Workers, f.called("Threads"))
	}
}

func (c Config) checkAddrs(b backendEntry, f *faults) {
	const field = "Addrs"
	if b.addrs == noAddrs {
		if len(c.Addrs) > 0 {
			f.fieldf(field, "%s: %s takes no address and no path: leave it out; settings follow a question mark, "+
				"as %s://?threads=4, and workers that listen are reached by tcp, tls or unix",
				showAddr(b.addrs, c.Addrs[0]), b.name, b.name)
		}
		return
	}
	if len(c.Addrs) == 0 && b.addrs != anyAddrs {
		f.fieldf(field, "%s needs the addresses of its workers: write %s", b.name, b.addrs.example(b.name))
	}
	seen := map[string]bool{}
	for i, addr := range c.Addrs {
		if addr == "" {
			f.fieldf(field, "number %d of %d is empty: leave it out, and the comma beside it", i+1, len(c.Addrs))
			continue
		}
		canonical, problem := checkAddr(b.addrs, addr)
		switch {
		case problem != "":
			f.fieldf(field, "%s: %s", showAddr(b.addrs, addr), problem)
		case seen[canonical]:
			f.fieldf(field, "%s: it is there twice: give each address once", showAddr(b.addrs, addr))
		}
		seen[canonical] = true
	}
}

func (c Config) checkParams(b backendEntry, f *faults) {
	for _, key := range slices.Sorted(maps.Keys(c.Params)) {
		field := "Params." + key
		values := c.Params[key]
		s, common := settingOf(key)
		switch {
		case isSecret(key):
			f.fieldf(field, "%s", secretAdvice)
		case common:
			f.fieldf(field, "every backend has it: set Config.%s instead", s.field)
		case !slices.Contains(b.keys, key):
			f.fieldf(field, "%s: %s", unknownKey(b, key, b.keys), known(b.keys))
		case len(values) != 1:
			f.fieldf(field, "it has %d values: give one", len(values))
		case values[0] == "":
			f.fieldf(field, "it is empty: give a value, or leave it out")
		case b.name == "proc" && key == "transport" && values[0] != "tcp" && values[0] != "unix":
			f.fieldf(field, "%s is unknown: want tcp or unix", quote(values[0]))
		}
	}
}

// addrKind is what the addresses of a backend look like.
type addrKind uint8

const (
	anyAddrs    addrKind = iota // the backend's own affair
	noAddrs                     // none
	hostPorts                   // host:port
	socketPaths                 // of Unix sockets
)

func (k addrKind) example(backend string) string {
	if k == socketPaths {
		return backend + ":///run/nearfar.sock"
	}
	return backend + "://host:8786, or several with commas between them"
}

// checkAddr says what is wrong with addr, or gives what it has in common with other
// spellings of the same address.
func checkAddr(k addrKind, addr string) (canonical, problem string) {
	switch {
	case strings.ContainsRune(addr, 0):
		return "", "it has a zero byte: correct it"
	case hasCredentials(k, addr):
		return "", "it has credentials: " + secretAdvice
	case strings.Contains(addr, "://") && k != anyAddrs && !rooted(addr):
		return "", "it has a scheme: the backend says it already, leave it out"
	case k == hostPorts:
		return checkHostPort(addr)
	case k == socketPaths:
		return checkPath(addr)
	}
	return addr, ""
}

func checkHostPort(addr string) (canonical, problem string) {
	if strings.Contains(addr, "/") {
		return "", "it has a path: want host:port"
	}
	if strings.ContainsAny(addr, "=&") {
		return "", "it has a setting: want host:port, and settings after a question mark"
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		bare, _ := netip.ParseAddr(strings.Trim(addr, "[]"))
		switch {
		case bare.Is6():
			return "", "an IPv6 address without a port: write " + quote("["+bare.String()+"]:8786")
		case !strings.ContainsAny(addr, ":[]"):
			return "", "no port: write host:port, as " + quote(addr+":8786")
		}
		return "", "want host:port, with an IPv6 address in brackets, as [::1]:8786"
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != port {
		return "", "the port is not a number from 1 to 65535"
	}
	ip, notIP := netip.ParseAddr(host)
	switch {
	case host == "":
		return "", "no host: for this machine write 127.0.0.1:" + port
	case addr[0] == '[':
		if !ip.Is6() || strings.ContainsFunc(ip.Zone(), func(r rune) bool { return !isHostRune(r) }) {
			return "", "not an IPv6 address in the brackets"
		}
		host = ip.String()
	case strings.Trim(host, "0123456789.") == "" && notIP != nil:
		return "", "not an IPv4 address, and no name either"
	case strings.ContainsFunc(host, func(r rune) bool { return !isHostRune(r) }):
		return "", "the host has a character that no name has: letters, digits, dots, hyphens and underscores only"
	}
	return net.JoinHostPort(strings.ToLower(host), port), ""
}

func isHostRune(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '-' || r == '_'
}

// rooted reports whether addr is a path that cannot be meant as anything else: with
// unix://run/x.sock somebody forgot a slash more often than they wanted a directory.
func rooted(addr string) bool {
	return strings.HasPrefix(addr, "/") || strings.HasPrefix(addr, "./") || strings.HasPrefix(addr, "../")
}

func checkPath(addr string) (canonical, problem string) {
	switch {
	case !rooted(addr):
		return "", "want a path that begins with /, as in unix:///run/nearfar.sock with three slashes, or with ./ or ../"
	case len(addr) > maxSocketPath:
		return "", fmt.Sprintf("%d bytes, more than the %d of a socket's path: use a shorter one", len(addr), maxSocketPath)
	}
	return path.Clean(addr), ""
}
