package cli

import (
	"fmt"
	"os"
	"slices"
	"time"
)

// This file measures the disk of the store.

// What is measured, and when it is too slow or too full.
const (
	syncsMeasured = 200
	syncPatience  = 2 * time.Second
	slowSync      = 50 * time.Millisecond
	fewBytes      = 1 << 30
	tooFewBytes   = 64 << 20
	fewFiles      = 10_000
)

// diskFacts are what a system says of the disk behind a folder.
type diskFacts struct {
	kind   string // ext4, tmpfs, …
	free   uint64 // bytes that we may still write
	size   uint64
	files  uint64 // that there may still be; size 0 and files 0: it doesn't say
	cache  string // of the device: write through, write back, or ""
	fading string // why nothing on it lasts, "" if it does
	far    bool   // another machine's
}

// disk measures the disk behind a folder.
func (d *diagnosis) disk(dir string) {
	if dir == "" {
		return
	}
	facts := diskOf(dir)
	times, err := measureSyncs(dir)
	if err != nil {
		d.add(finding{State: bad, About: "disk", Text: fmt.Sprintf("%s can't be written: %v", dir, err),
			Remedy: "free some space or give the permission, or choose another --store", code: exitStore})
		d.Durable = "Not at all: the store can't be written."
		return
	}
	d.add(facts.syncFinding(dir, times))
	d.room(facts)
	if facts.fading != "" {
		d.Durable = capital(facts.fading) + "."
		d.Durability = "none"
	}
}

// measureSyncs writes blocks of 4 KiB into a scratch file and waits for each to
// be on disk.
func measureSyncs(dir string) (times []time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4<<10)
	for began := time.Now(); len(times) < syncsMeasured && (len(times) < 3 || time.Since(began) < syncPatience); {
		at := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		if err := syncData(f); err != nil {
			return nil, err
		}
		times = append(times, time.Since(at))
	}
	slices.Sort(times)
	return times, nil
}

func (facts diskFacts) syncFinding(dir string, times []time.Duration) finding {
	p50, p99, most := times[len(times)/2], times[len(times)*99/100], times[len(times)-1]
	f := finding{State: good, About: "disk", Details: map[string]any{"folder": dir, "file_system": facts.kind, "syncs": len(times),
		"sync_p50_us": p50.Microseconds(), "sync_p99_us": p99.Microseconds(), "sync_max_us": most.Microseconds(), "write_cache": facts.cache}}
	f.Text = fmt.Sprintf("%s: a sync takes %s, one in a hundred %s, the longest of %d took %s", firstOf(facts.kind, dir), short(p50), short(p99), len(times), short(most))
	switch {
	case facts.fading != "":
		f.State, f.Text = warning, f.Text+"; but "+facts.fading
		f.Remedy = "put the store on a disk: --store DIR, GLEITZEIT_STORE or store in gleitzeit.yaml"
	case facts.far:
		f.State, f.Text = warning, f.Text+"; it is another machine's disk, whose locks and syncs have to be trusted"
		f.Remedy = "put the store on a disk of this machine, or choose the backend redis"
	case p99 > slowSync:
		f.State, f.Remedy = warning, "each step of a run waits for a sync: a quicker disk makes runs quicker (several runs share a sync)"
	}
	return f
}

// room looks whether there is enough of it.
func (d *diagnosis) room(facts diskFacts) {
	if facts.size == 0 {
		return
	}
	f := finding{State: good, About: "space", Text: fmt.Sprintf("%s free of %s", bytesOf(int64(facts.free)), bytesOf(int64(facts.size))),
		Details: map[string]any{"free": facts.free, "size": facts.size, "files": facts.files}}
	remedy := "free some, or keep less: gleitzeit system gc --older-than 30d, then gleitzeit system compact; retention in gleitzeit.yaml"
	switch {
	case facts.free < tooFewBytes:
		f.State, f.Remedy, f.code = bad, remedy, exitStore
	case facts.free < fewBytes:
		f.State, f.Remedy = warning, remedy
	case facts.files > 0 && facts.files < fewFiles:
		f.State, f.Text, f.Remedy = warning, fmt.Sprintf("%s, but only %d files more", f.Text, facts.files), remedy
	}
	d.add(f)
}
