package scheduler

import (
	_ "embed"
	"strings"

	"gleitzeit/protocols"
)

// zones are the names of the time zones that Go knows, for suggestions alone:
// whether there is a zone, time.LoadLocation says.
//
//go:embed zones.txt
var zones string

func unknownZone(name string) error {
	hint := protocols.Suggest(name, strings.Fields(zones))
	if hint == "" {
		hint = "such as Europe/Berlin or UTC"
	}
	return protocols.Errorf(protocols.InvalidParams, "there is no time zone %q (%s)", name, hint)
}
