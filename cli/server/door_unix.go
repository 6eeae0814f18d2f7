//go:build unix

package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// The door is a Unix socket in the store's folder:
//
//	socket        mode 0600
//
// A socket's path may have about a hundred bytes. If the store's is longer,
// the socket lies in a private folder for temporary files, and a file says
// where:
//
//	socket.path   /tmp/gleitzeit-socket-2718281828/socket
//
// So it is, too, if the folder has something else by the name of socket. What
// isn't ours is left alone.
const (
	socketName  = "socket"
	pointerName = "socket.path"
	buildName   = ".gleitzeit-socket" // where the socket is made, before anybody may see it
	tempPrefix  = "gleitzeit-socket-" // of the folder for a socket elsewhere
	longestPath = 100
)

// openDoor listens. What a killed process left is cleared away first.
func openDoor(dir string) (*door, error) {
	clearDoor(dir)
	if len(filepath.Join(dir, buildName, socketName)) <= longestPath {
		if d, err := openDoorAt(dir); err == nil {
			return d, nil
		} // this file system may not know sockets
	}
	return openDoorElsewhere(dir)
}

// openDoorAt puts the socket into the store's folder. It is made in a folder
// of its own that nobody else may enter, so that at no moment somebody else
// may open it, and nobody finds it before it listens.
func openDoorAt(dir string) (*door, error) {
	final := filepath.Join(dir, socketName)
	if _, err := os.Lstat(final); err == nil {
		return nil, &os.PathError{Op: "listen", Path: final, Err: os.ErrExist}
	}
	build := filepath.Join(dir, buildName)
	if err := os.Mkdir(build, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(build)
	l, err := listenUnix(filepath.Join(build, socketName))
	if err != nil {
		return nil, err
	}
	if err := os.Rename(filepath.Join(build, socketName), final); err != nil {
		l.Close()
		return nil, err
	}
	return &door{listener: l, address: final, remove: func() { clearDoor(dir) }}, nil
}

func openDoorElsewhere(dir string) (*door, error) {
	home, err := os.MkdirTemp(shortTemp(), tempPrefix)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(home, socketName)
	l, err := listenUnix(path)
	if err != nil {
		return nil, errors.Join(err, os.Remove(home))
	}
	if err := writePointer(dir, path); err != nil {
		l.Close()
		return nil, errors.Join(err, os.RemoveAll(home))
	}
	return &door{listener: l, address: path, remove: func() { clearDoor(dir) }}, nil
}

// shortTemp is a folder for temporary files whose path leaves room.
func shortTemp() string {
	if temp := os.TempDir(); len(temp) <= longestPath-40 {
		return temp
	}
	return "/tmp"
}

func listenUnix(path string) (net.Listener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // remove does that, under the name that it has then
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// writePointer says where the socket is, all at once.
func writePointer(dir, path string) error {
	file := filepath.Join(dir, pointerName)
	if _, err := os.Lstat(file); err == nil {
		return &os.PathError{Op: "write", Path: file, Err: os.ErrExist}
	}
	if err := os.WriteFile(file+".new", []byte(path+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// readPointer returns where the socket is said to lie if it isn't in the
// folder.
func readPointer(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, pointerName))
	if err != nil {
		return "", err
	}
	path := strings.TrimSuffix(string(b), "\n")
	if filepath.Base(path) != socketName || !strings.HasPrefix(filepath.Base(filepath.Dir(path)), tempPrefix) {
		return "", fmt.Errorf("%s names no socket of ours", pointerName)
	}
	return path, nil
}

// checkPrivate tells whether a folder is this user's alone. Anybody may make a
// folder for temporary files after ours has gone.
func checkPrivate(home string) error {
	st, err := os.Lstat(home)
	if err != nil {
		return err
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	if !ok || !st.IsDir() || st.Mode().Perm() != 0o700 || int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is not private", home)
	}
	return nil
}

func isSocket(path string) bool {
	st, err := os.Lstat(path)
	return err == nil && st.Mode().Type() == os.ModeSocket
}

// clearDoor removes all that a door leaves, as far as it is ours. What is gone
// already is as we want it.
func clearDoor(dir string) {
	if socket := filepath.Join(dir, socketName); isSocket(socket) {
		os.Remove(socket)
	}
	os.RemoveAll(filepath.Join(dir, buildName))
	path, err := readPointer(dir)
	if err != nil {
		return
	}
	if home := filepath.Dir(path); checkPrivate(home) == nil {
		os.Remove(path)
		os.Remove(home)
	}
	os.Remove(filepath.Join(dir, pointerName))
}

func knock(ctx context.Context, dir string) (net.Conn, string, error) {
	path := filepath.Join(dir, socketName)
	if !isSocket(path) {
		elsewhere, err := readPointer(dir)
		if err != nil {
			return nil, "", err
		}
		if err := checkPrivate(filepath.Dir(elsewhere)); err != nil {
			return nil, "", err
		}
		path = elsewhere
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	return conn, "", err
}
