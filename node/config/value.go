package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// given is what one source says about one setting.
type given struct {
	name   string   // of the setting
	texts  []string // one, unless it came as a YAML list
	list   bool
	origin string // where to find it, for people
	folder string // where a relative path starts
}

// text returns the value of a setting that takes one value.
func (g given) text() (string, error) {
	if g.list {
		return "", errors.New("takes one value, not a list")
	}
	return g.texts[0], nil
}

// items returns the value of a setting that takes a list, without empty items.
func (g given) items() []string {
	texts := g.texts
	if !g.list {
		texts = strings.Split(g.texts[0], ",")
	}
	items := make([]string, 0, len(texts))
	for _, text := range texts {
		if text = strings.TrimSpace(text); text != "" {
			items = append(items, text)
		}
	}
	return items
}

// unit is a suffix and how much of the base unit it stands for.
type unit struct {
	suffix string
	size   int64
}

// timeUnits and sizeUnits are in the order of their size, largest first.
func timeUnits() []unit {
	return []unit{
		{"d", int64(24 * time.Hour)},
		{"h", int64(time.Hour)},
		{"m", int64(time.Minute)},
		{"s", int64(time.Second)},
		{"ms", int64(time.Millisecond)},
	}
}

func sizeUnits() []unit {
	return []unit{{"gb", 1 << 30}, {"mb", 1 << 20}, {"kb", 1 << 10}, {"b", 1}}
}

// parseQuantity reads a whole number with a unit; zero needs none.
func parseQuantity(text string, units []unit) (int64, error) {
	if text == "0" {
		return 0, nil
	}
	for _, unit := range units {
		digits, ok := strings.CutSuffix(strings.ToLower(text), unit.suffix)
		if !ok {
			continue
		}
		number, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 63)
		if err != nil {
			continue // "500m" before the s of "500ms", or no number at all
		}
		if number > uint64(math.MaxInt64/unit.size) { //nolint:gosec // sizes are positive
			return 0, errors.New("is too large")
		}
		return int64(number) * unit.size, nil
	}
	return 0, errors.New("unit is missing or unrecognized")
}

// formatQuantity writes a quantity in the largest unit that needs no fraction.
func formatQuantity(quantity int64, units []unit) string {
	for _, unit := range units {
		if quantity != 0 && quantity%unit.size == 0 {
			return strconv.FormatInt(quantity/unit.size, 10) + unit.suffix
		}
	}
	return strconv.FormatInt(quantity, 10)
}

func formatDuration(d time.Duration) string { return formatQuantity(int64(d), timeUnits()) }

// parseHost reads an IP address (in brackets or not) or a host name.
func parseHost(text string) (string, error) {
	if text == "_local_" {
		return loopback, nil
	}
	bare := text
	if inner, ok := strings.CutPrefix(text, "["); ok {
		bare, ok = strings.CutSuffix(inner, "]")
		if !ok {
			return "", errNotHost
		}
	}
	if address, err := netip.ParseAddr(bare); err == nil {
		return address.String(), nil
	}
	if bare != text || !isHostName(bare) {
		return "", errNotHost
	}
	return bare, nil
}

var (
	errNotHost = errors.New("is neither _local_ nor an IP address nor a host name")
	errNotSeed = errors.New("is not host or host:port")
)

// isHostName is as liberal as resolvers are (underscores) but refuses what is
// certainly something else: ports, lists, URLs, Elasticsearch's _site_ and the like.
func isHostName(text string) bool {
	if text == "" || len(text) > 253 || strings.HasPrefix(text, "_") {
		return false
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(text, "."), ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, hostLetters) != "" {
			return false
		}
	}
	return true
}

const hostLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

// parseSeed reads host[:port] and fills in the port.
func parseSeed(text string, defaultPort int) (host string, port int, err error) {
	if host, err := parseHost(text); err == nil { // no port; also an IPv6 address without brackets
		return host, defaultPort, nil
	}
	colon := strings.LastIndexByte(text, ':')
	if colon < 0 {
		return "", 0, errNotSeed
	}
	host, err = parseHost(text[:colon])
	if err != nil {
		return "", 0, errNotSeed
	}
	port, err = strconv.Atoi(text[colon+1:])
	if err != nil || port < 1 || port > maxPort {
		return "", 0, fmt.Errorf("has no port between 1 and %d after the colon", maxPort)
	}
	return host, port, nil
}

const maxPort = 65535
