// Package metrics counts what happens, and writes the figures in the text format
// that Prometheus reads.
//
//	log ─► Keeper ─► Counters ─► Family ─┐
//	         ▲ │                         ├─► Write
//	         │ ▼          figures of a ──┘
//	   its checkpoint     moment: package server
//
// Counters are a fold over the log's records, so that they are the same whoever
// counts, and go on where they were after a restart: a checkpoint of the log
// holds them with the record up to which they go, and a start reads what came
// after it, not the past.
//
// No label holds what there is ever more of: no run, no task, no workflow.
// Providers and models are those that were used, up to a bound (see Family).
package metrics

import (
	"bufio"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Kind is what a family's figures are.
type Kind string

// The kinds.
const (
	Counter   Kind = "counter"
	Gauge     Kind = "gauge"
	Histogram Kind = "histogram"
)

// Other stands for all values of a label beyond those that a family has room
// for.
const Other = "other"

// maxSeries is how many series a family may have, and maxLabel the bytes of one
// label that come from outside.
const (
	maxSeries = 1000
	maxLabel  = 100
)

// Family is one metric with a series for each combination of labels. When there
// are too many of them, new ones are counted together, with Other for each label.
type Family struct {
	Name, Help string
	Kind       Kind
	Labels     []string
	Bounds     []float64 // of a histogram's buckets, ascending, without +Inf
	Per        float64   // what is added are parts of so many to one; 0: of one

	series map[string]*series // by the labels' values, joined by NUL
}

// series is one line, or the lines of one histogram.
type series struct {
	Labels []string `json:"labels,omitempty"`
	Value  float64  `json:"value"`            // of a histogram: the sum
	Counts []uint64 `json:"counts,omitempty"` // by bucket, the last being +Inf
}

// Add adds to the series with those values of the labels.
func (f *Family) Add(n float64, labels ...string) { f.at(labels).Value += n }

// Observe adds an observation to a histogram.
func (f *Family) Observe(v float64, labels ...string) {
	s := f.at(labels)
	if s.Counts == nil {
		s.Counts = make([]uint64, len(f.Bounds)+1)
	}
	i, _ := slices.BinarySearch(f.Bounds, v)
	s.Counts[i]++
	s.Value += v
}

// at returns the series with those values of the labels.
func (f *Family) at(labels []string) *series {
	if f.series == nil {
		f.series = map[string]*series{}
	}
	key := strings.Join(labels, "\x00")
	s := f.series[key]
	if s != nil {
		return s
	}
	if len(f.series) >= maxSeries {
		labels = slices.Repeat([]string{Other}, len(labels))
		key = strings.Join(labels, "\x00")
		if s = f.series[key]; s != nil {
			return s
		}
	}
	s = &series{Labels: slices.Clone(labels)}
	f.series[key] = s
	return s
}

// Write writes the families in the text format, version 0.0.4. A family without
// a series is left out.
func Write(w io.Writer, families []*Family) error {
	out := bufio.NewWriter(w)
	for _, f := range families {
		f.write(out)
	}
	return out.Flush()
}

func (f *Family) write(out *bufio.Writer) {
	if len(f.series) == 0 {
		return
	}
	out.WriteString("# HELP " + f.Name + " " + f.Help + "\n# TYPE " + f.Name + " " + string(f.Kind) + "\n")
	for _, key := range slices.Sorted(maps.Keys(f.series)) {
		s := f.series[key]
		if f.Kind == Histogram {
			f.writeBuckets(out, s)
			continue
		}
		f.line(out, "", s, "", s.Value/max(f.Per, 1))
	}
}

// writeBuckets writes a histogram: each bucket counts all that is less, too.
func (f *Family) writeBuckets(out *bufio.Writer, s *series) {
	sum := uint64(0)
	for i, n := range s.Counts {
		bound := math.Inf(1)
		if i < len(f.Bounds) {
			bound = f.Bounds[i]
		}
		sum += n
		f.line(out, "_bucket", s, number(bound), float64(sum))
	}
	f.line(out, "_sum", s, "", s.Value)
	f.line(out, "_count", s, "", float64(sum))
}

// line writes one line; le is the bound of a bucket.
func (f *Family) line(out *bufio.Writer, suffix string, s *series, le string, v float64) {
	out.WriteString(f.Name + suffix)
	var labels []string
	for i, name := range f.Labels {
		labels = append(labels, name+`="`+escape.Replace(s.Labels[i])+`"`)
	}
	if le != "" {
		labels = append(labels, `le="`+le+`"`)
	}
	if len(labels) > 0 {
		out.WriteString("{" + strings.Join(labels, ",") + "}")
	}
	out.WriteString(" " + number(v) + "\n")
}

// escape is what the text format wants of the values of labels.
var escape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func number(v float64) string {
	if math.IsInf(v, 1) {
		return "+Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// label makes a label's value of a name that comes from outside.
func label(name string) string {
	if name == "" {
		return "unknown"
	}
	return strings.ToValidUTF8(name[:min(len(name), maxLabel)], "")
}
