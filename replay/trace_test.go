package replay

import "testing"

// TestTrace names runs and attempts: always alike, and each its own.
func TestTrace(t *testing.T) {
	const given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for text, want := range map[string]bool{
		given: true, "01" + given[2:] + "-more": true,
		"": false, given[:54]: false, given + "-more": false, "ff" + given[2:]: false,
		"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01": false,
		"00-00000000000000000000000000000000-b7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01": false,
		"00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01": false,
	} {
		if _, ok := ParseTrace(text); ok != want {
			t.Errorf("%q is a traceparent: %v", text, ok)
		}
	}
	seen := map[Trace]string{}
	for name, at := range map[string]Trace{
		"a run": RunTrace("s", "a-1", 0, ""), "another": RunTrace("s", "a-2", 0, ""), "tried again": RunTrace("s", "a-1", 1, ""), "of another store": RunTrace("u", "a-1", 0, ""),
		"an attempt": RunTrace("s", "a-1", 0, "").Attempt(0, 1), "the next": RunTrace("s", "a-1", 0, "").Attempt(0, 2), "of the next task": RunTrace("s", "a-1", 0, "").Attempt(1, 1),
		"submitted from a trace": RunTrace("s", "a-1", 0, given),
	} {
		if other := seen[at]; other != "" {
			t.Errorf("%s and %s are both %s", name, other, at)
		}
		seen[at] = name
	}
	run := RunTrace("s", "a-1", 0, given)
	if parent, _ := ParseTrace(given); run.ID != parent.ID || run.Attempt(3, 1).ID != parent.ID || run != RunTrace("s", "a-1", 0, given) {
		t.Errorf("in %s a run is at %s", given, run)
	}
	if back, ok := ParseTrace(run.String()); !ok || back != run {
		t.Errorf("%s is read as %v", run, back)
	}
}
