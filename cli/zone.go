package cli

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// zone returns the name of the machine's time zone, as far as it says one, or
// else UTC. A TZ that is set and names none is an error: another zone than the
// one that is meant would go unnoticed.
func (e *environment) zone() (string, error) {
	if tz, set := e.lookup("TZ"); set {
		name := strings.TrimPrefix(tz, ":")
		if zone := zoneOr(name, "UTC"); zone == name || name == "" {
			return zone, nil
		}
		return "", fmt.Errorf("TZ is %q, not the name of a time zone: give --timezone, such as Europe/Berlin or UTC", tz)
	}
	return machineZone(), nil
}

func machineZone() string {
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
