package cli

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// This file asks Linux for what doctor wants to know.

// hasModes tells that a file's mode says who may read it.
const hasModes = true

// syncData waits until what was written is on disk.
func syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

// fileSystems are those that need a word, by their magic numbers.
var fileSystems = map[int64]diskFacts{
	unix.EXT4_SUPER_MAGIC:      {kind: "ext4"},
	unix.XFS_SUPER_MAGIC:       {kind: "xfs"},
	unix.BTRFS_SUPER_MAGIC:     {kind: "btrfs"},
	unix.F2FS_SUPER_MAGIC:      {kind: "f2fs"},
	0x2fc12fc1:                 {kind: "zfs"},
	unix.TMPFS_MAGIC:           {kind: "tmpfs", fading: "it is in memory: everything is lost when the machine restarts"},
	unix.RAMFS_MAGIC:           {kind: "ramfs", fading: "it is in memory: everything is lost when the machine restarts"},
	unix.OVERLAYFS_SUPER_MAGIC: {kind: "overlayfs", fading: "it is a container's own layer: everything is lost with the container, unless the store is on a volume"},
	unix.NFS_SUPER_MAGIC:       {kind: "nfs", far: true},
	unix.SMB2_SUPER_MAGIC:      {kind: "smb", far: true},
	unix.CIFS_SUPER_MAGIC:      {kind: "cifs", far: true},
	unix.V9FS_MAGIC:            {kind: "9p", far: true},
	unix.FUSE_SUPER_MAGIC:      {kind: "fuse", far: true},
}

func diskOf(dir string) diskFacts {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return diskFacts{}
	}
	facts := fileSystems[int64(s.Type)&math.MaxUint32]
	if facts.kind == "" {
		facts.kind = fmt.Sprintf("file system %#x", uint32(s.Type))
	}
	facts.free, facts.size, facts.files = s.Bavail*uint64(s.Bsize), s.Blocks*uint64(s.Bsize), s.Ffree
	facts.cache = writeCache(dir)
	return facts
}

// writeCache asks how the device behind a folder treats what it is given.
func writeCache(dir string) string {
	var s unix.Stat_t
	if unix.Stat(dir, &s) != nil {
		return ""
	}
	device := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(uint64(s.Dev)), unix.Minor(uint64(s.Dev)))
	for _, queue := range []string{"queue", "../queue"} { // of a partition it is the disk's
		if real, err := filepath.EvalSymlinks(device); err == nil {
			if text := fileText(filepath.Join(real, queue, "write_cache")); text != "" {
				return text
			}
		}
	}
	return ""
}

func fileText(path string) string {
	text, _ := os.ReadFile(path) // one that isn't there says nothing
	return strings.TrimSpace(string(text))
}

// readClock asks the kernel about its clock.
func readClock() clockFacts {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return clockFacts{}
	}
	return clockFacts{known: true, synced: state != unix.TIME_ERROR && t.Status&unix.STA_UNSYNC == 0, error: time.Duration(t.Maxerror) * time.Microsecond}
}

// readLimits collects limits, and what the machine has.
func readLimits() (all []limit) {
	for _, l := range []struct {
		which int
		limit
	}{
		{unix.RLIMIT_NOFILE, limit{name: "open files", least: 1024, why: "a store takes up to 500, and each task some more", raise: "ulimit -n 4096, or LimitNOFILE= of the systemd unit"}},
		{unix.RLIMIT_NPROC, limit{name: "processes", least: 256, why: "each Python task and MCP server is a process or more", raise: "ulimit -u 4096, or TasksMax= of the systemd unit"}},
		{unix.RLIMIT_FSIZE, limit{name: "file size", least: 1 << 30, why: "a store's file that reaches it ends the process", raise: "ulimit -f unlimited"}},
	} {
		var r unix.Rlimit
		if unix.Getrlimit(l.which, &r) == nil {
			l.value = r.Cur
			all = append(all, l.limit)
		}
	}
	if n, bounded := cgroupBound("pids.max", "pids/pids.max"); bounded {
		all = append(all, limit{name: "processes of the cgroup", value: n, least: 128, why: "each Python task and MCP server is a process or more", raise: "raise pids.max: --pids-limit of the container, TasksMax= of the systemd unit"})
	}
	return append(all, memory())
}

// memory is what is available to us.
func memory() limit {
	m := limit{name: "memory", value: math.MaxUint64, least: 256 << 20, why: "that is what is left, and each Python task wants some", raise: "give the machine or the container more, or have fewer slots"}
	for line := range strings.Lines(fileText("/proc/meminfo")) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "MemAvailable:" {
			n, _ := strconv.ParseUint(fields[1], 10, 64)
			m.value = n << 10
		}
	}
	if most, bounded := cgroupBound("memory.max", "memory/memory.limit_in_bytes"); bounded {
		used, _ := cgroupBound("memory.current", "memory/memory.usage_in_bytes")
		m.value = min(m.value, most-min(used, most))
	}
	return m
}

// cgroupBound reads a number of our cgroup, version 2 or else version 1; there
// may be no bound.
func cgroupBound(v2, v1 string) (uint64, bool) {
	for line := range strings.Lines(fileText("/proc/self/cgroup")) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) < 3 {
			continue
		}
		controller, file, _ := strings.Cut(v1, "/")
		name := filepath.Join("/sys/fs/cgroup", fields[2], v2)
		switch {
		case fields[1] == controller:
			name = filepath.Join("/sys/fs/cgroup", controller, fields[2], file)
		case fields[1] != "":
			continue
		}
		if n, err := strconv.ParseUint(fileText(name), 10, 64); err == nil && n < 1<<60 {
			return n, true
		}
	}
	return 0, false
}
