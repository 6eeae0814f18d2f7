//go:build unix

package providers

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// BenchmarkIdleKind measures what a provider of each kind holds that has
// answered a call and has nothing to do: heap and stacks of ours, and what its
// processes have for themselves.
func BenchmarkIdleKind(b *testing.B) {
	needPython(b)
	all := conformers(b)
	for _, kind := range slices.Sorted(maps.Keys(all)) {
		b.Run(strings.ReplaceAll(kind, " ", "_"), func(b *testing.B) {
			for b.Loop() {
				ours, theirs := idleSets(b, all[kind], 20)
				b.ReportMetric(ours/1024, "KiB")
				b.ReportMetric(theirs/1024, "KiB-of-processes")
			}
		})
	}
}

// idleSets opens n sets with a provider, has each answer a call, and returns what
// one of them takes.
func idleSets(b *testing.B, c conformer, n int) (ours, theirs float64) {
	children := processMemory(b)
	before := memoryNow()
	var sets []*Set
	for range n {
		s, err := Open(c.config, Options{Env: conformEnvironment, Self: filterRole()})
		if err == nil {
			sets = append(sets, s)
			_, err = s.Call(patience(b, tooLong), c.name, c.works, nil)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	ours, theirs = float64(memoryNow()-before), float64(processMemory(b)-children)
	for _, s := range sets {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	}
	return ours / float64(n), theirs / float64(n)
}

// processMemory is what our descendants take, in bytes; what several share
// counts in part for each.
func processMemory(b *testing.B) (total int64) {
	for parents := []int{os.Getpid()}; len(parents) > 0; parents = parents[1:] {
		for _, child := range childrenOf(parents[0]) {
			pid, err := strconv.Atoi(strings.Fields(child)[0])
			if err != nil {
				b.Fatal(err)
			}
			parents = append(parents, pid)
			total += proportional(pid)
		}
	}
	return total
}

// proportional reads the proportional set size of a process, 0 if it is gone.
func proportional(pid int) int64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		if fields := strings.Fields(scanner.Text()); len(fields) > 1 && fields[0] == "Pss:" {
			n, _ := strconv.ParseInt(fields[1], 10, 64) // 0 if it is no number
			return n << 10
		}
	}
	return 0
}
