package executor

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// A setting is a field of Config that has a key in the DSN.
type setting struct {
	key   string
	field string
	at    func(*Config) any // *int, *int64 for bytes, *bool, *string or *time.Duration
}

// settings are the keys that every backend shares, in the order of String.
var settings = []setting{
	{"workers", "Workers", func(c *Config) any { return &c.Workers }},
	{"threads", "Threads", func(c *Config) any { return &c.Threads }},
	{"max_pending", "MaxPending", func(c *Config) any { return &c.MaxPending }},
	{"strict", "Strict", func(c *Config) any { return &c.Strict }},
	{"memory_limit", "MemoryLimit", func(c *Config) any { return &c.MemoryLimit }},
	{"max_value", "MaxValueBytes", func(c *Config) any { return &c.MaxValueBytes }},
	{"max_lineage", "LineageBytes", func(c *Config) any { return &c.LineageBytes }},
	{"max_losses", "MaxLosses", func(c *Config) any { return &c.MaxLosses }},
	{"token_file", "TokenFile", func(c *Config) any { return &c.TokenFile }},
	{"cert", "CertFile", func(c *Config) any { return &c.CertFile }},
	{"key", "KeyFile", func(c *Config) any { return &c.KeyFile }},
	{"ca", "CAFile", func(c *Config) any { return &c.CAFile }},
	{"insecure", "Insecure", func(c *Config) any { return &c.Insecure }},
	{"connect_timeout", "ConnectTimeout", func(c *Config) any { return &c.ConnectTimeout }},
	{"heartbeat_timeout", "HeartbeatTimeout", func(c *Config) any { return &c.HeartbeatTimeout }},
	{"close_grace", "CloseGrace", func(c *Config) any { return &c.CloseGrace }},
	{"no_workers_timeout", "NoWorkersTimeout", func(c *Config) any { return &c.NoWorkersTimeout }},
}

// settingOf is the setting with that key.
func settingOf(key string) (setting, bool) {
	for _, s := range settings {
		if s.key == key {
			return s, true
		}
	}
	return setting{}, false
}

// keyOf is the key of a field, or the field where it has none.
func keyOf(field string) string {
	for _, s := range settings {
		if s.field == field {
			return s.key
		}
	}
	return field
}

// text is the setting's value as a DSN has it, "" if it is zero.
func (s setting) text(c *Config) string {
	switch p := s.at(c).(type) {
	case *int:
		if *p != 0 {
			return strconv.Itoa(*p)
		}
	case *int64:
		if *p != 0 {
			return formatSize(*p)
		}
	case *bool:
		if *p {
			return "true"
		}
	case *string:
		return *p
	case *time.Duration:
		if *p != 0 {
			return p.String()
		}
	}
	return ""
}

// negative reports whether the setting is a number below zero.
func (s setting) negative(c *Config) bool {
	switch p := s.at(c).(type) {
	case *int:
		return *p < 0
	case *int64:
		return *p < 0
	case *time.Duration:
		return *p < 0
	}
	return false
}

// maxSlots bounds Workers and Threads: a larger number is a slip of the pen.
const maxSlots = 1 << 16

// above reports whether the setting is Workers or Threads beyond maxSlots.
func (s setting) above(c *Config) bool {
	p := s.at(c)
	return (p == &c.Workers || p == &c.Threads) && *p.(*int) > maxSlots
}

// set parses text into the field. Its error says what would have been accepted.
func (s setting) set(c *Config, text string) (err error) {
	switch p := s.at(c).(type) {
	case *int:
		n, err := strconv.Atoi(text)
		switch {
		case errors.Is(err, strconv.ErrRange):
			return errors.New("out of range: want a smaller number")
		case err != nil:
			return errors.New("want a whole number, as 8")
		}
		*p = n
	case *int64:
		*p, err = parseSize(text)
	case *bool:
		switch text {
		case "true", "1":
			*p = true
		case "false", "0":
			*p = false
		default:
			return errors.New("want true or false, or 1 or 0")
		}
	case *string:
		*p = text
	case *time.Duration:
		*p, err = parseDuration(text)
	}
	return err
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err == nil {
		return d, nil
	}
	if strings.Trim(text, "0123456789.") == "" {
		return 0, errors.New("want a duration with its unit, as 5s, 500ms or 1m30s: seconds are written " + shorten(text) + "s")
	}
	return 0, errors.New("want a duration up to 2562047h, as 5s, 500ms or 1m30s")
}

// sizeUnits are the suffixes of a size, the largest first.
var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// parseSize reads a number of bytes, or of one of sizeUnits. It knows no kB or MB: half of
// their users mean 1000, and half mean 1024.
func parseSize(text string) (int64, error) {
	digits := text
	unit := int64(1)
	for _, u := range sizeUnits {
		cut := len(text) - len(u.suffix)
		if cut > 0 && strings.EqualFold(text[cut:], u.suffix) {
			digits, unit = text[:cut], u.bytes
			break
		}
	}
	if strings.Trim(digits, "0123456789") != "" {
		return 0, errors.New("want bytes, as 1048576, or a whole number of KiB, MiB, GiB or TiB, as 512MiB")
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > math.MaxInt64/unit {
		return 0, errors.New("too large: at most " + formatSize(math.MaxInt64) + " bytes")
	}
	return n * unit, nil
}

// formatSize is n in the largest unit that divides it, and without a unit in bytes.
func formatSize(n int64) string {
	for _, u := range sizeUnits {
		if u.bytes > 1 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}
