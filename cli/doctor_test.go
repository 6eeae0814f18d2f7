package cli

import (
	"strings"
	"testing"
	"time"

	"gleitzeit/cli/server"
	"gleitzeit/eventlog"
	"gleitzeit/providers"
)

// healthyRedis is one that doctor has nothing to say about.
func healthyRedis() *eventlog.RedisState {
	return &eventlog.RedisState{Name: "gleitzeit", Version: "7.0.15", Eviction: "noeviction", Role: "master",
		Promise: eventlog.Promise{Class: eventlog.DurableAlways, Text: "it is on Redis's disk"}, RoundTrip: time.Millisecond}
}

// TestDoctorRedis: what a Redis says of itself is judged, and each finding that
// isn't good says what to do.
func TestDoctorRedis(t *testing.T) {
	for _, test := range []struct {
		what    string
		change  func(*eventlog.RedisState)
		state   severity
		said    string
		code    int
		durable eventlog.Durability
	}{
		{"all is well", func(*eventlog.RedisState) {}, good, "it is on Redis's disk", exitOK, "always"},
		{"everysec", func(r *eventlog.RedisState) {
			r.Promise = eventlog.Promise{Class: eventlog.DurableEverySecond, Text: "the last second may be lost"}
		}, warning, "the last second may be lost", exitMismatch, "everysec"},
		{"eviction", func(r *eventlog.RedisState) { r.Eviction = "allkeys-lru" }, bad, "maxmemory-policy allkeys-lru", exitStore, "none"},
		{"memory", func(r *eventlog.RedisState) { r.Memory, r.MaxMemory = 95, 100 }, warning, "95 B of 100 B", exitMismatch, "always"},
		{"its disk", func(r *eventlog.RedisState) { r.Trouble = "aof_last_write_status is err" }, bad, "aof_last_write_status", exitStore, "always"},
		{"a replica", func(r *eventlog.RedisState) { r.Role = "slave" }, bad, "it is a replica", exitStore, "always"},
		{"replicas", func(r *eventlog.RedisState) { r.Replicas = 1 }, note, "failover", exitOK, "always"},
		{"its clock", func(r *eventlog.RedisState) { r.Ahead = -time.Minute }, note, "clock is 1m0s off", exitOK, "always"},
	} {
		r := healthyRedis()
		test.change(r)
		d := &diagnosis{Durability: r.Promise.Class}
		d.redis(r)
		d.sum()
		worst := d.Findings[0]
		for _, f := range d.Findings {
			if f.State == d.State {
				worst = f
			}
		}
		if d.State != test.state || !strings.Contains(worst.Text, test.said) || d.code() != test.code || d.Durability != test.durable {
			t.Errorf("%s: %+v, code %d", test.what, d, d.code())
		}
		if d.State != good && d.State != note && worst.Remedy == "" {
			t.Errorf("%s: nothing to do: %+v", test.what, worst)
		}
	}
}

// TestDoctorDisk: slow, fading, foreign and full disks.
func TestDoctorDisk(t *testing.T) {
	quick := []time.Duration{time.Millisecond, time.Millisecond, 2 * time.Millisecond}
	for _, test := range []struct {
		facts diskFacts
		times []time.Duration
		state severity
		said  string
	}{
		{diskFacts{kind: "ext4"}, quick, good, "ext4: a sync takes 1ms, one in a hundred 2ms, the longest of 3 took 2ms"},
		{diskFacts{kind: "ext4"}, []time.Duration{time.Second}, warning, "takes 1s"},
		{diskFacts{kind: "tmpfs", fading: "it is in memory"}, quick, warning, "it is in memory"},
		{diskFacts{kind: "nfs", far: true}, quick, warning, "another machine"},
	} {
		f := test.facts.syncFinding("/x", test.times)
		if f.State != test.state || !strings.Contains(f.Text, test.said) || (f.State == good) != (f.Remedy == "") {
			t.Errorf("%+v: %+v", test.facts, f)
		}
	}
	for free, want := range map[uint64]severity{10 << 30: good, 500 << 20: warning, 1 << 20: bad} {
		d := &diagnosis{}
		d.room(diskFacts{free: free, size: 100 << 30, files: 1 << 20})
		if d.Findings[0].State != want {
			t.Errorf("%d bytes: %+v", free, d.Findings)
		}
	}
	d := &diagnosis{}
	if d.room(diskFacts{free: 10 << 30, size: 100 << 30, files: 12}); d.Findings[0].State != warning {
		t.Errorf("12 files: %+v", d.Findings)
	}
	dir := t.TempDir()
	if times, err := measureSyncs(dir); err != nil || len(times) < 3 || times[0] <= 0 {
		t.Errorf("%v, %v", times, err)
	}
	if d = (&diagnosis{}); existing(dir+"/a/b") != dir {
		t.Error(existing(dir + "/a/b"))
	}
	if d.disk("/proc/self"); d.code() != exitStore { // nobody may write there
		t.Errorf("%+v", d)
	}
}

// TestDoctorProviders: what nobody configured need not work; what a person
// wrote down must.
func TestDoctorProviders(t *testing.T) {
	c := &config{settings: settings{MCPServers: map[string]providers.MCPServer{"files": {Command: "no-such-command"}}}}
	for _, test := range []struct {
		r      server.ProviderHealth
		spare  bool
		state  severity
		remedy string
	}{
		{server.ProviderHealth{Name: "echo", Status: "healthy"}, false, good, ""},
		{server.ProviderHealth{Name: "ollama", Kind: "ollama", Status: "unhealthy"}, true, note, "ollama serve"},
		{server.ProviderHealth{Name: "ollama", Kind: "ollama", Status: "unhealthy"}, false, bad, "ollama serve"},
		{server.ProviderHealth{Name: "files", Status: "unhealthy"}, false, bad, "install no-such-command"},
		{server.ProviderHealth{Name: "web", Status: "degraded"}, false, warning, "provider check web"},
		{server.ProviderHealth{Name: "python", Status: "healthy", Details: map[string]any{"not_enforced": []string{"the network"}}}, true, warning, "newer kernel"},
	} {
		f := c.providerFinding(test.r, providers.Info{Spare: test.spare})
		if f.State != test.state || !strings.Contains(f.Remedy, test.remedy) || f.State == bad && f.code != exitUnreachable {
			t.Errorf("%+v: %+v", test.r, f)
		}
	}
}

// TestDoctorCode: the store's trouble beats a provider's, and that beats
// warnings.
func TestDoctorCode(t *testing.T) {
	store, provider := finding{State: bad, code: exitStore}, finding{State: bad, code: exitUnreachable}
	for _, test := range []struct {
		found []finding
		want  int
	}{
		{nil, exitOK},
		{[]finding{{State: note}}, exitOK},
		{[]finding{{State: warning}, {State: good}}, exitMismatch},
		{[]finding{{State: warning}, provider, {State: warning}}, exitUnreachable},
		{[]finding{provider, store}, exitStore},
		{[]finding{store, provider}, exitStore},
	} {
		if got := (&diagnosis{Findings: test.found}).code(); got != test.want {
			t.Errorf("%+v: %d, want %d", test.found, got, test.want)
		}
	}
}

// TestDoctorLimits: a limit that is too low is told with what raises it.
func TestDoctorLimits(t *testing.T) {
	d := &diagnosis{}
	d.judge([]limit{{name: "open files", value: 12, least: 1024, why: "few", raise: "ulimit -n 4096"}, {name: "memory", value: 1 << 30}, {name: "processes", value: 1 << 63}})
	if len(d.Findings) != 2 || d.Findings[0].State != warning || d.Findings[0].Text != "open files 12: few" || d.Findings[0].Remedy != "ulimit -n 4096" {
		t.Errorf("%+v", d.Findings)
	}
	if got := d.Findings[1].Text; got != "memory 1.0 GiB, processes unlimited" {
		t.Error(got)
	}
}
