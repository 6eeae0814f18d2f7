package servertest

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Collector takes spans as a collector of OpenTelemetry does, at /v1/traces.
type Collector struct {
	// Before, if not nil, is asked before anything is taken; a status that isn't 0
	// is the answer.
	Before func() (status int)

	mu    sync.Mutex
	spans []*tracepb.Span
	bytes []byte // all that was sent
}

// ServeHTTP takes spans.
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c.Before != nil {
		if status := c.Before(); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	body, err := io.ReadAll(r.Body)
	var sent tracepb.TracesData
	if err != nil || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" || proto.Unmarshal(body, &sent) != nil {
		http.Error(w, "that is no OTLP", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bytes = append(c.bytes, body...)
	for _, of := range sent.ResourceSpans {
		for _, scope := range of.ScopeSpans {
			for _, s := range scope.Spans {
				s.Attributes = append(s.Attributes, of.Resource.Attributes...)
				c.spans = append(c.spans, s)
			}
		}
	}
}

// Sent is all that came, as it came.
func (c *Collector) Sent() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.bytes)
}

// Spans are those that came, each once.
func (c *Collector) Spans() (all []*tracepb.Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := map[string]bool{}
	for _, s := range c.spans {
		if id := string(s.TraceId) + string(s.SpanId); !seen[id] {
			seen[id] = true
			all = append(all, s)
		}
	}
	return all
}

// Lines are the spans as text, one a line, in the order of their beginning,
// the longer before the shorter.
func (c *Collector) Lines() string {
	spans := c.Spans()
	slices.SortStableFunc(spans, func(a, b *tracepb.Span) int {
		return cmp.Or(cmp.Compare(a.StartTimeUnixNano, b.StartTimeUnixNano), cmp.Compare(b.EndTimeUnixNano, a.EndTimeUnixNano))
	})
	var b strings.Builder
	for _, s := range spans {
		fmt.Fprintf(&b, "%s trace=%x span=%x parent=%s status=%v", s.Name, s.TraceId, s.SpanId, hex.EncodeToString(s.ParentSpanId), s.Status.GetCode())
		if m := s.Status.GetMessage(); m != "" {
			fmt.Fprintf(&b, " message=%q", m)
		}
		for _, a := range s.Attributes {
			fmt.Fprintf(&b, " %s=%s", a.Key, value(a.Value))
		}
		for _, e := range s.Events {
			fmt.Fprintf(&b, " +%s", e.Name)
		}
		for _, l := range s.Links {
			fmt.Fprintf(&b, " link=%x", l.SpanId)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func value(v *commonpb.AnyValue) string {
	switch v := v.Value.(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_IntValue:
		return fmt.Sprint(v.IntValue)
	case *commonpb.AnyValue_DoubleValue:
		return fmt.Sprint(v.DoubleValue)
	case *commonpb.AnyValue_BoolValue:
		return fmt.Sprint(v.BoolValue)
	case *commonpb.AnyValue_ArrayValue:
		var all []string
		for _, one := range v.ArrayValue.Values {
			all = append(all, value(one))
		}
		return strings.Join(all, ",")
	}
	return ""
}
