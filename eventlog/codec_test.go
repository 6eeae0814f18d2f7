package eventlog

import (
	"bytes"
	"encoding/hex"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func sampleRecord() Record {
	return Record{
		Seq:    0x0102030405060708,
		Time:   time.Unix(1_700_000_000, 5).UTC(),
		Stream: "run-7",
		Type:   "task.started",
		Data:   []byte(`{"a":1}`),
		Refs:   []Hash{Sum([]byte("v"))},
		Keys:   []string{"k1", "k2"},
	}
}

// The layout of a body may not change without a new version.
func TestBodyLayout(t *testing.T) {
	r := sampleRecord()
	body, sum := appendBody(nil, Sum([]byte("before")), &r, []bool{false, true})
	want := strings.Join([]string{
		hex.EncodeToString(sum[:]),
		"01",               // version
		"0102030405060708", // seq
		"80c49fd50c",       // seconds
		"05",               // nanoseconds
		"05" + hex.EncodeToString([]byte("run-7")),
		"0c" + hex.EncodeToString([]byte("task.started")),
		"07" + hex.EncodeToString([]byte(`{"a":1}`)),
		"01" + Sum([]byte("v")).String(),
		"02", "04" + hex.EncodeToString([]byte("k1")), "05" + hex.EncodeToString([]byte("k2")),
	}, "")
	if got := hex.EncodeToString(body); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if want := "60cf6310b0e3d90f"; sum.String()[:16] != want {
		t.Errorf("the sum begins with %s, want %s", sum.String()[:16], want)
	}
	if sumBody(Sum([]byte("before")), body) != sum {
		t.Error("the sum can't be computed again")
	}
	if sumBody(Hash{}, body) == sum {
		t.Error("the sum does not depend on the one before")
	}
}

func TestBodyRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.StringN(0, 20, -1)
		r := Record{
			Seq:    Seq(rapid.Uint64().Draw(t, "seq")),
			Time:   time.Unix(rapid.Int64Range(math.MinInt32*100, math.MaxInt32*100).Draw(t, "sec"), rapid.Int64Range(0, 999_999_999).Draw(t, "nsec")).UTC(),
			Stream: some.Draw(t, "stream"),
			Type:   some.Draw(t, "type"),
			Data:   rapid.SliceOf(rapid.Byte()).Draw(t, "data"),
			Keys:   rapid.SliceOf(some).Draw(t, "keys"),
		}
		for _, s := range rapid.SliceOf(some).Draw(t, "refs") {
			r.Refs = append(r.Refs, Sum([]byte(s)))
		}
		claimed := rapid.SliceOfN(rapid.Bool(), len(r.Keys), len(r.Keys)).Draw(t, "claimed")
		body, sum := appendBody([]byte("front"), Hash{1}, &r, claimed)
		body = bytes.TrimPrefix(body, []byte("front"))
		var d decoder
		got, err := d.record(row{seq: r.Seq, body: body})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
		if s, err := bodySum(body); s != sum || err != nil {
			t.Fatalf("sum %s, %v, want %s", s, err, sum)
		}
		if !slices.Equal(d.claimed, claimed) {
			t.Fatalf("claimed %v, want %v", d.claimed, claimed)
		}
		clear(body) // the record shares nothing with it
		if diff := cmp.Diff(r, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// No beginning of a body is a body, nor is one with something behind it.
func TestDamagedBodies(t *testing.T) {
	r := sampleRecord()
	body, _ := appendBody(nil, Hash{}, &r, nil)
	var d decoder
	for n := range body {
		if _, err := d.decode(body[:n:n]); err == nil {
			t.Errorf("%d of %d bytes are taken for a record", n, len(body))
		}
	}
	if _, err := d.decode(append(bytes.Clone(body), 0)); err == nil || !strings.Contains(err.Error(), "follow its end") {
		t.Errorf("a byte too many: %v", err)
	}
	if _, err := d.record(row{seq: 3, body: body}); err == nil || !strings.Contains(err.Error(), "record 3 is damaged: it says it is record") {
		t.Errorf("the wrong place: %v", err)
	}
	body[len(Hash{})] = recordVersion + 1
	if _, err := d.decode(body); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("a later version: %v", err)
	}
}

func FuzzRecord(f *testing.F) {
	for _, r := range []Record{sampleRecord(), {}, rec("a", "b")} {
		body, _ := appendBody(nil, Hash{}, &r, []bool{true})
		f.Add(body)
	}
	f.Add(bytes.Repeat([]byte{255}, 100))
	f.Fuzz(func(t *testing.T, body []byte) {
		var d decoder
		r, err := d.decode(body)
		if err != nil {
			return
		}
		again, _ := appendBody(nil, Hash{}, &r, d.claimed)
		got, err := new(decoder).decode(again)
		if err != nil {
			t.Fatalf("%+v can't be read again: %v", r, err)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestSpans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []Seq
		var s spans
		q := Seq(0)
		for _, step := range rapid.SliceOf(rapid.Uint64Range(1, 3)).Draw(t, "steps") {
			q += Seq(step)
			want = append(want, q)
			s = s.add(q)
		}
		got, err := parseSpans(appendSpans(nil, s))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(slices.Collect(got.all()), want) || got.count() != uint64(len(want)) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func FuzzSpans(f *testing.F) {
	f.Add([]byte{1, 0, 1, 1})
	f.Add(bytes.Repeat([]byte{255}, 30))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSpans(b)
		if err != nil {
			return
		}
		end := Seq(0)
		for _, sp := range s {
			if sp.first <= end || sp.last < sp.first {
				t.Fatalf("%v is out of order", s)
			}
			end = sp.last
		}
		again, err := parseSpans(appendSpans(nil, s))
		if err != nil || !slices.Equal(s, again) {
			t.Fatalf("%v becomes %v, %v", s, again, err)
		}
	})
}

func FuzzSmallValues(f *testing.F) {
	f.Add([]byte("gleitzeit store\nformat 1\nid x\n"))
	f.Add(appendTotals(nil, &totals{1, 2, 3, 4}))
	f.Add(appendEntry(nil, touch{stream: "a", seqs: []Seq{1, 2, 5}}))
	f.Add(appendStreamKey(nil, "a", 7))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := parseMarker(string(b)); err == nil && (m.format < 1 || m.id == "") {
			t.Errorf("a marker %+v", m)
		}
		if v, err := parseTotals(b); err == nil {
			if again, err := parseTotals(appendTotals(nil, &v)); err != nil || again != v {
				t.Errorf("totals %+v become %+v, %v", v, again, err)
			}
		}
		if name, first, err := splitStreamKey(b); err == nil {
			if !bytes.Equal(appendStreamKey(nil, string(name), first), b) {
				t.Errorf("stream key %q becomes %q, %d", b, name, first)
			}
		}
		if u, err := splitUseKey(b); err == nil && !bytes.Equal(useKey(u)[1:], b[1:]) {
			t.Errorf("use key %q becomes %+v", b, u)
		}
		_, _, _ = parseEntry(1, b)
		_, _ = parseClaim("k", b)
		_, _ = parseCheckpoint("s", b)
	})
}

func TestHashText(t *testing.T) {
	h := Sum([]byte("x"))
	text, err := h.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var again Hash
	if err := again.UnmarshalText(text); err != nil || again != h || again.IsZero() {
		t.Errorf("%s becomes %s, %v", h, again, err)
	}
	for _, bad := range []string{"", "00", strings.Repeat("g", 64), strings.Repeat("0", 66)} {
		if _, err := ParseHash(bad); err == nil {
			t.Errorf("%q is taken for a hash", bad)
		}
	}
}
