package scheduler

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"gleitzeit/protocols"
)

// TestCronTimes is the table of what becomes of times when clocks are set, and
// of the language's forms.
func TestCronTimes(t *testing.T) {
	const berlin, newYork, lordHowe = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
	for _, test := range []struct{ what, cron, zone, after, want string }{
		{"left out: later by what the clock was set", "30 2 * * *", berlin, "2027-03-27T12:00:00Z",
			"03-28 03:30 +0200, 03-29 02:30 +0200"},
		{"left out, at its beginning", "0 2 * * *", berlin, "2027-03-27T12:00:00Z", "03-28 03:00 +0200, 03-29 02:00 +0200"},
		{"left out and there anyway: once", "30 2,3 * * *", berlin, "2027-03-27T12:00:00Z",
			"03-28 03:30 +0200, 03-29 02:30 +0200, 03-29 03:30 +0200"},
		{"several left out keep their order", "0,30 2,3 * * *", berlin, "2027-03-27T12:00:00Z",
			"03-28 03:00 +0200, 03-28 03:30 +0200, 03-29 02:00 +0200"},
		{"the day it is in the middle of", "*/20 2 * * *", berlin, "2027-03-28T01:10:00Z",
			"03-28 03:20 +0200, 03-28 03:40 +0200, 03-29 02:00 +0200"},
		{"shown twice: the first time", "30 2 * * *", berlin, "2027-10-30T12:00:00Z",
			"10-31 02:30 +0200, 11-01 02:30 +0100"},
		{"shown twice, asked in between", "30 2 * * *", berlin, "2027-10-31T00:45:00Z", "11-01 02:30 +0100"},
		{"the end of what is shown twice", "0 3 * * *", berlin, "2027-10-31T00:45:00Z", "10-31 03:00 +0100"},
		{"every quarter of one hour", "*/15 2 * * *", berlin, "2027-10-30T23:50:00Z",
			"10-31 02:00 +0200, 10-31 02:15 +0200, 10-31 02:30 +0200, 10-31 02:45 +0200, 11-01 02:00 +0100"},
		{"every half hour goes on, back", "*/30 * * * *", berlin, "2027-10-31T00:10:00Z",
			"10-31 02:30 +0200, 10-31 02:00 +0100, 10-31 02:30 +0100, 10-31 03:00 +0100"},
		{"every half hour goes on, forward", "*/30 * * * *", berlin, "2027-03-28T00:10:00Z",
			"03-28 01:30 +0100, 03-28 03:00 +0200, 03-28 03:30 +0200"},
		{"hourly", "@hourly", berlin, "2027-10-30T23:10:00Z", "10-31 02:00 +0200, 10-31 02:00 +0100, 10-31 03:00 +0100"},
		{"every two hours", "0 */2 * * *", berlin, "2027-03-27T22:30:00Z", "03-28 00:00 +0100, 03-28 03:00 +0200, 03-28 04:00 +0200"},
		{"by duration", "@every 90m", berlin, "2027-10-30T23:00:00Z", "10-31 02:30 +0200, 10-31 03:00 +0100, 10-31 04:30 +0100"},
		{"New York, left out", "15 2 14 3 *", newYork, "2027-03-13T12:00:00Z", "03-14 03:15 -0400, 03-14 02:15 -0400"},
		{"New York, shown twice", "15 1 * * *", newYork, "2027-11-06T12:00:00Z", "11-07 01:15 -0400, 11-08 01:15 -0500"},
		{"Lord Howe, half an hour left out", "15 2 * * *", lordHowe, "2027-10-02T12:00:00Z", "10-03 02:45 +1100, 10-04 02:15 +1100"},
		{"Lord Howe, beside what is left out", "45 2 * * *", lordHowe, "2027-10-02T12:00:00Z", "10-03 02:45 +1100, 10-04 02:45 +1100"},
		{"Lord Howe, half an hour shown twice", "45 1 * * *", lordHowe, "2027-04-03T12:00:00Z", "04-04 01:45 +1100, 04-05 01:45 +1030"},
		{"Lord Howe, not shown twice", "15 1 * * *", lordHowe, "2027-04-03T12:00:00Z", "04-04 01:15 +1100, 04-05 01:15 +1030"},
		{"midnight left out", "@daily", "America/Santiago", "2027-09-04T12:00:00Z", "09-05 01:00 -0300, 09-06 00:00 -0300"},
		{"a day left out", "0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", "12-31 12:00 +1400, 12-30 12:00 +1400"},
		{"either of day and weekday", "0 0 13 * fri", "UTC", "2027-08-10T00:00:00Z",
			"08-13 00:00 +0000, 08-20 00:00 +0000, 08-27 00:00 +0000, 09-03 00:00 +0000, 09-10 00:00 +0000, 09-13 00:00 +0000"},
		{"29 February", "0 0 29 2 *", "UTC", "2097-01-01T00:00:00Z", "02-29 00:00 +0000"},
		{"never", "0 0 30 2 */1", berlin, "2027-01-01T00:00:00Z", "none"},
		{"weekdays by name", "30 6 * * mon-fri", "UTC", "2027-08-13T07:00:00Z", "08-16 06:30 +0000"},
		{"Sunday is 7, too", "0 6 * * 6-7", "UTC", "2027-08-13T07:00:00Z", "08-14 06:00 +0000, 08-15 06:00 +0000"},
		{"strictly after", "* * * * *", "UTC", "2027-08-13T07:00:00Z", "08-13 07:01 +0000"},
		{"a moment before", "* * * * *", "UTC", "2027-08-13T06:59:59.999999999Z", "08-13 07:00 +0000"},
	} {
		after, err := time.Parse(time.RFC3339Nano, test.after)
		if err != nil {
			t.Fatal(err)
		}
		times, err := NewTimes(protocols.Schedule{Cron: test.cron, Timezone: test.zone}, after)
		if err != nil {
			t.Fatalf("%s: %v", test.what, err)
		}
		var got []string
		for at := after; len(got) < strings.Count(test.want, ",")+1; {
			next, ok := times.After(at)
			if !ok {
				got = append(got, "none")
				break
			}
			if !next.After(at) || next.Location() != time.UTC {
				t.Fatalf("%s: %s follows on %s", test.what, next, at)
			}
			got, at = append(got, next.In(times.zone).Format("01-02 15:04 -0700")), next
		}
		if all := strings.Join(got, ", "); all != test.want {
			t.Errorf("%s: %s in %s: got\n%s, want\n%s", test.what, test.cron, test.zone, all, test.want)
		}
	}
}

// TestCronByMinute holds the times of random schedules against a clock that
// is looked at each minute.
func TestCronByMinute(t *testing.T) {
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Africa/Casablanca"}
	seeds(t, 60, func(t *testing.T, seed uint64) int {
		rng := rand.New(rand.NewPCG(seed, 7))
		zone, err := time.LoadLocation(zones[rng.IntN(len(zones))])
		if err != nil {
			t.Fatal(err)
		}
		c := randomCron(rng)
		begin := time.Date(2027, []time.Month{3, 4, 9, 10, 11}[rng.IntN(5)], 1, 0, rng.IntN(2000), rng.IntN(60), 0, time.UTC)
		times, err := NewTimes(protocols.Schedule{Cron: c.String(), Timezone: zone.String()}, begin)
		if err != nil {
			t.Fatalf("seed %d: %s: %v", seed, c, err)
		}
		end := begin.Add(40 * 24 * time.Hour)
		wants := c.byMinute(begin, end, zone)
		at := begin
		for _, want := range wants {
			next, _ := times.After(at)
			if !next.Equal(want) {
				t.Fatalf("seed %d: %s in %s after %s: got %s, want %s", seed, c, zone, at.In(zone), next.In(zone), want.In(zone))
			}
			at = next
		}
		if next, any := times.After(at); any && next.Before(end) {
			t.Fatalf("seed %d: %s in %s after %s: got %s, want none", seed, c, zone, at.In(zone), next.In(zone))
		}
		return len(wants)
	})
}

// plainCron is a schedule as plain sets.
type plainCron struct {
	text                              [5]string
	minute, hour, day, month, weekday []int
}

func (c plainCron) String() string { return strings.Join(c.text[:], " ") }

// randomCron draws a schedule.
func randomCron(rng *rand.Rand) (c plainCron) {
	draw := func(i, min, max int) (set []int) {
		if i == 1 && rng.IntN(4) == 0 || i != 1 && rng.IntN(3) > 0 {
			c.text[i] = "*"
			for n := min; n <= max; n++ {
				set = append(set, n)
			}
			return set
		}
		var words []string
		for range 1 + rng.IntN(4) {
			n := min + rng.IntN(max-min+1)
			set, words = append(set, n), append(words, fmt.Sprint(n))
		}
		c.text[i] = strings.Join(words, ",")
		return set
	}
	c.minute, c.hour = draw(0, 0, 59), draw(1, 0, 4)
	if c.text[1] == "*" { // else the hours at which clocks are set
		for n := 5; n < 24; n++ {
			c.hour = append(c.hour, n)
		}
	}
	c.day, c.month, c.weekday = draw(2, 1, 28), draw(3, 1, 12), draw(4, 0, 6)
	if c.text[2] == "*" {
		c.day = append(c.day, 29, 30, 31)
	}
	return c
}

func has(set []int, n int) bool {
	for _, m := range set {
		if m == n {
			return true
		}
	}
	return false
}

// means tells whether a wall clock's time is one of the schedule.
func (c plainCron) means(wall time.Time) bool {
	day, weekday := has(c.day, wall.Day()), has(c.weekday, int(wall.Weekday()))
	either := day && weekday
	if c.text[2] != "*" && c.text[4] != "*" {
		either = day || weekday
	}
	return has(c.minute, wall.Minute()) && has(c.hour, wall.Hour()) && has(c.month, int(wall.Month())) && either
}

// byMinute looks at each minute from begin to end: what the clock shows, what
// it left out just now, and whether it has shown that before.
func (c plainCron) byMinute(begin, end time.Time, zone *time.Location) (all []time.Time) {
	wall := func(at time.Time) time.Time { return at.UTC().Add(offsetAt(at, zone)) }
	hourly := c.text[1] == "*"
	seen := map[time.Time]bool{}
	start := begin.Truncate(time.Minute)
	for at := start.Add(-26 * time.Hour); at.Before(end); at = at.Add(time.Minute) {
		shown := wall(at)
		left := at.UTC().Add(offsetAt(at.Add(-3*time.Hour), zone)) // what it would show had it not been set
		fires := c.means(shown) && (hourly || !seen[shown])
		fires = fires || !hourly && left.Before(shown) && c.means(left) && !seen[left] && wasLeftOut(left, at, zone)
		seen[shown] = true
		if fires && at.After(begin) {
			all = append(all, at)
		}
	}
	return all
}

// wasLeftOut tells whether no moment about at shows the time.
func wasLeftOut(shown, at time.Time, zone *time.Location) bool {
	for m := at.Add(-4 * time.Hour); m.Before(at.Add(4 * time.Hour)); m = m.Add(time.Minute) {
		if m.UTC().Add(offsetAt(m, zone)).Equal(shown) {
			return false
		}
	}
	return true
}

// TestCronPassed counts times that have passed.
func TestCronPassed(t *testing.T) {
	for _, test := range []struct {
		cron, due, now, last string
		before               int
	}{
		{"*/10 * * * *", "2027-01-01T00:10:00Z", "2027-01-01T00:10:00Z", "2027-01-01T00:10:00Z", 0},
		{"*/10 * * * *", "2027-01-01T00:10:00Z", "2027-01-01T00:19:00Z", "2027-01-01T00:10:00Z", 0},
		{"*/10 * * * *", "2027-01-01T00:10:00Z", "2027-01-01T01:00:00Z", "2027-01-01T01:00:00Z", 5},
		{"* * * * *", "2027-01-01T00:10:00Z", "2029-01-01T01:00:30Z", "2029-01-01T01:00:00Z", maxPassed},
		{"0 0 1 1 *", "2027-01-01T00:00:00Z", "2031-06-01T00:00:00Z", "2031-01-01T00:00:00Z", 4},
		{"0 0 29 2 *", "2028-02-29T00:00:00Z", "2031-06-01T00:00:00Z", "2028-02-29T00:00:00Z", 0},
		{"@every 7s", "2027-01-01T00:00:07Z", "2027-01-01T00:00:20Z", "2027-01-01T00:00:14Z", 1},
	} {
		at := func(text string) time.Time {
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
		times, err := NewTimes(protocols.Schedule{Cron: test.cron}, at("2027-01-01T00:00:00Z"))
		if err != nil {
			t.Fatal(err)
		}
		last, before := times.Passed(at(test.due), at(test.now))
		if !last.Equal(at(test.last)) || before != test.before {
			t.Errorf("%s from %s to %s: %s, %d before", test.cron, test.due, test.now, last, before)
		}
	}
}

// TestZones holds the list of names against the zones there are.
func TestZones(t *testing.T) {
	names := strings.Fields(zones)
	if len(names) < 400 {
		t.Fatalf("%d zones", len(names))
	}
	for _, name := range names {
		if _, err := loadZone(name); err != nil {
			t.Error(err)
		}
	}
	_, err := NewTimes(protocols.Schedule{Cron: "@daily", Timezone: "Europe/Berlim"}, epoch)
	if err == nil || !strings.Contains(err.Error(), "did you mean Europe/Berlin?") {
		t.Error(err)
	}
}
