package cli

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gleitzeit/cli/server/traces"
	"gleitzeit/replay"
)

// This file reads whom to tell what happens, for OpenTelemetry: an endpoint from
// the configuration, and the rest from the variables that its specification has.

// traces says whom to tell.
func (s *session) traces(c *config) traces.Options {
	if strings.EqualFold(s.env.get("OTEL_SDK_DISABLED"), "true") || s.env.get("OTEL_TRACES_EXPORTER") == "none" {
		return traces.Options{}
	}
	o := traces.Options{URL: s.env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), Headers: s.env.pairs("OTEL_EXPORTER_OTLP_HEADERS")}
	if o.URL == "" && c.OTLPEndpoint != "" {
		o.URL = strings.TrimSuffix(c.OTLPEndpoint, "/") + "/v1/traces"
	}
	if checkOTLP(o.URL) != nil { // of the variable that no key has
		s.print.insist("note: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is ignored: %v", checkOTLP(o.URL))
		return traces.Options{}
	}
	if ms, err := strconv.Atoi(s.env.get("OTEL_EXPORTER_OTLP_TIMEOUT")); err == nil && ms > 0 {
		o.Timeout = time.Duration(ms) * time.Millisecond
	}
	o.Resource = s.env.pairs("OTEL_RESOURCE_ATTRIBUTES")
	o.Resource["service.version"] = readVersion().Version
	if o.Resource["service.name"] = firstOf(s.env.get("OTEL_SERVICE_NAME"), o.Resource["service.name"]); o.Resource["service.name"] == "" {
		o.Resource["service.name"] = "gleitzeit"
	}
	return o
}

// checkOTLP refuses what is no address of a collector.
func checkOTLP(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("%q must be of the form http://HOST:4318", address)
	case u.User != nil:
		return errors.New("an address with a password: give that in OTEL_EXPORTER_OTLP_HEADERS")
	}
	return nil
}

// pairs reads a variable of the form name=value,name=value, where values may be
// escaped as in addresses.
func (e *environment) pairs(variable string) map[string]string {
	all := map[string]string{}
	for pair := range strings.SplitSeq(e.get(variable), ",") {
		name, value, found := strings.Cut(pair, "=")
		if plain, err := url.PathUnescape(strings.TrimSpace(value)); found && err == nil {
			all[strings.TrimSpace(name)] = plain
		}
	}
	return all
}

// trace is the place in a trace that the command is below, "" for none.
func (e *environment) trace() string {
	if at := e.get("TRACEPARENT"); at != "" {
		if _, ok := replay.ParseTrace(at); ok {
			return at
		}
	}
	return ""
}
