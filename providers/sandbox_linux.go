package providers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"gleitzeit/providers/launcher"
)

// This file makes a sandbox ready for the kernel:
//
//	files     Landlock: a set of rules, whose descriptor is handed down
//	network   seccomp: there are no sockets but pairs of connected ones
//	signals   Landlock 6; before that seccomp asks us about each (sandbox_signals_linux.go)
//	processes we count them from outside (sandbox_crowd_linux.go); none leaves
//	          its group, for setsid and setpgid only seem to work
//	the rest  rlimits; a list of system calls that nobody needs (sandbox_seccomp_linux.go);
//	          for root all capabilities but that to read and write others' files
//
// The process itself takes it on, in this order: rlimits, capabilities,
// no_new_privs, Landlock, seccomp. None of it can be taken off again.

// confinement is a sandbox ready for one process. Its Box, as JSON, is what the
// process is told; files are handed down to it: the rules, if there is a
// Landlock, and a socket, if the filter asks somebody.
type confinement struct {
	launcher.Box

	files  []*os.File
	umpire *umpire // nil: nobody asks
	crowd  *crowd  // nil: there may be any number of them
}

// kernelFeatures is what the kernel has to offer.
type kernelFeatures struct {
	Landlock int  // its ABI, 0: none
	Seccomp  bool // with a list for this processor
	Listen   bool // seccomp can ask
}

// kernel is looked at once.
var kernel = sync.OnceValue(func() (k kernelFeatures) {
	abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno == 0 {
		k.Landlock = int(abi)
	}
	mode, err := unix.PrctlRetInt(unix.PR_GET_SECCOMP, 0, 0, 0, 0)
	k.Seccomp = err == nil && mode >= 0 && seccompArch != 0
	action := uint32(unix.SECCOMP_RET_USER_NOTIF)
	_, _, errno = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	k.Listen = k.Seccomp && errno == 0
	return k
})

// describe says what protects, and lacking what can't be enforced here.
func (k kernelFeatures) describe() string {
	switch {
	case k.Landlock == 0 && !k.Seccomp:
		return "limits only"
	case k.Landlock == 0:
		return "seccomp"
	case !k.Seccomp:
		return fmt.Sprintf("Landlock %d", k.Landlock)
	}
	return fmt.Sprintf("Landlock %d and seccomp", k.Landlock)
}

// lacking lists what this kernel can't enforce.
func (k kernelFeatures) lacking() (all []string) {
	add := func(is bool, text string) {
		if is {
			all = append(all, text)
		}
	}
	add(k.Landlock == 0, "files (no Landlock)")
	add(k.Landlock > 0 && k.Landlock < 3, "truncating files (Landlock before 3)")
	add(!k.Seccomp, "network, processes that leave their group, the number of those (no seccomp)")
	add(k.Landlock < 6 && !k.Listen, "signals to other processes")
	return all
}

// sandboxState says what protects and what can't be enforced.
func sandboxState() (kind string, lacking []string) { return kernel().describe(), kernel().lacking() }

// confine makes it ready. The caller closes it.
func (s *sandbox) confine() (*confinement, error) { return s.confineFor(kernel()) }

func (s *sandbox) confineFor(k kernelFeatures) (*confinement, error) {
	c := &confinement{Box: launcher.Box{Limits: s.Limits.resources(), Nice: politeness, Seccomp: unix.SYS_SECCOMP}}
	rules, err := s.landlock(k.Landlock)
	if err != nil {
		return nil, err
	}
	if rules != nil {
		c.Landlock, c.files = landlockRead, []*os.File{rules}
	}
	if s.Limits.Processes > 0 {
		c.crowd = &crowd{most: s.Limits.Processes}
	}
	if !k.Seccomp {
		return c, nil
	}
	c.Listen = k.Listen && k.Landlock < 6
	c.Filter = s.filter(c.Listen, k.Landlock < 6)
	if !c.Listen {
		return c, nil
	}
	ours, theirs, err := socketPair()
	if err != nil {
		c.close()
		return nil, err
	}
	c.files = append(c.files, theirs)
	c.umpire = &umpire{conn: ours}
	return c, nil
}

// handedDown is called when the process has its files.
func (c *confinement) handedDown() {
	closeFiles(c.files)
	c.files = nil
}

// watch answers the process's questions and counts what it starts, until close.
func (c *confinement) watch(kid *child) {
	if c.umpire != nil {
		c.umpire.start(kid.group.id)
	}
	if c.crowd != nil {
		c.crowd.start(kid.group.id, func() { kid.signal(group.kill) })
	}
}

// crowded tells whether there were too many processes.
func (c *confinement) crowded() bool { return c.crowd != nil && c.crowd.over.Load() }

// close ends watching. The process has ended, or never started.
func (c *confinement) close() {
	closeFiles(c.files)
	if c.umpire != nil {
		c.umpire.close()
	}
	if c.crowd != nil {
		c.crowd.close()
	}
}

const (
	landlockRead = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	// landlockWrite has everything but making devices.
	landlockWrite = landlockRead | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR |
		unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG |
		unix.LANDLOCK_ACCESS_FS_MAKE_SOCK | unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM |
		unix.LANDLOCK_ACCESS_FS_REFER | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	landlockDevices = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK
	// landlockFile is what there is to allow of a file that is no folder.
	landlockFile = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE |
		unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// systemRead is what every program needs to read: programs, libraries, and
// what they look up. Of /proc the kernel shows a process outside of the
// sandbox no more than its name and command line.
var systemRead = []string{
	"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/nix/store", "/gnu/store", "/proc",
	"/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/fs/cgroup",
	"/etc/alternatives", "/etc/ca-certificates", "/etc/ca-certificates.conf", "/etc/fonts", "/etc/pki", "/etc/ssl",
	"/etc/gai.conf", "/etc/group", "/etc/host.conf", "/etc/hostname", "/etc/hosts", "/etc/ld.so.cache", "/etc/ld.so.conf",
	"/etc/ld.so.conf.d", "/etc/locale.alias", "/etc/localtime", "/etc/mime.types", "/etc/nsswitch.conf", "/etc/os-release",
	"/etc/passwd", "/etc/protocols", "/etc/resolv.conf", "/etc/services", "/etc/timezone",
}

// systemWrite are the devices that do nothing.
var systemWrite = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

// landlock returns a set of rules for a kernel of that ABI, nil if it has none.
func (s *sandbox) landlock(abi int) (*os.File, error) {
	if abi == 0 {
		return nil, nil
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: landlockWrite | landlockDevices}
	for since, access := range map[int]uint64{
		2: unix.LANDLOCK_ACCESS_FS_REFER, 3: unix.LANDLOCK_ACCESS_FS_TRUNCATE, 5: unix.LANDLOCK_ACCESS_FS_IOCTL_DEV,
	} {
		if abi < since {
			attr.Handled_access_fs &^= access
		}
	}
	size := unsafe.Offsetof(attr.Handled_access_net)
	if abi >= 4 && !s.Network {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		size = unsafe.Offsetof(attr.Scoped)
	}
	if abi >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_SIGNAL | unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
		size = unsafe.Offsetof(attr.Quiet_access_fs)
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return nil, fmt.Errorf("landlock: make a set of rules: %w", errno)
	}
	rules := os.NewFile(fd, "landlock")
	if err := s.fill(rules, attr.Handled_access_fs); err != nil {
		rules.Close()
		return nil, err
	}
	return rules, nil
}

// fill adds a rule for each path that there is. known is what the kernel knows.
func (s *sandbox) fill(rules *os.File, known uint64) error {
	for _, set := range []struct {
		paths  []string
		access uint64
	}{
		{systemPaths(), landlockRead}, {systemWrite, landlockWrite}, {realPaths(s.Read), landlockRead}, {realPaths(s.Write), landlockWrite},
	} {
		for _, path := range set.paths {
			if err := allowPath(rules, path, set.access&known); err != nil {
				return fmt.Errorf("landlock: %s: %w", path, err)
			}
		}
	}
	return nil
}

// systemPaths is systemRead, without links and what isn't there. Looked at once.
var systemPaths = sync.OnceValue(func() []string { return realPaths(systemRead) })

// realPaths follows the links in paths; what isn't there, or what we may not
// even look at, needs no rule.
func realPaths(paths []string) (real []string) {
	for _, path := range paths {
		if r, err := filepath.EvalSymlinks(path); err == nil {
			real = append(real, r)
		}
	}
	slices.Sort(real)
	return slices.Compact(real)
}

// allowPath adds a rule for a path without links: one that somebody puts there
// meanwhile is not followed.
func allowPath(rules *os.File, path string, access uint64) error {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		access &= landlockFile
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(fd)}
	_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, rules.Fd(), unix.LANDLOCK_RULE_PATH_BENEATH,
		uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
