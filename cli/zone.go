package cli

import (
	"os"
	"strings"
	"time"
)

// zone returns the name of the machine's time zone, as far as it says one, or
// else UTC.
func (e *environment) zone() string {
	if tz, set := e.lookup("TZ"); set {
		return zoneOr(strings.TrimPrefix(tz, ":"), "UTC")
	}
	if target, err := os.Readlink("/etc/localtime"); err == nil {
		if _, name, found := strings.Cut(target, "zoneinfo/"); found {
			return zoneOr(name, "UTC")
		}
	}
	text, _ := os.ReadFile("/etc/timezone")
	return zoneOr(strings.TrimSpace(string(text)), "UTC")
}

// zoneOr is the name if there is such a zone.
func zoneOr(name, other string) string {
	if _, err := time.LoadLocation(name); name == "" || name == "Local" || err != nil {
		return other
	}
	return name
}
