package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// The door is a port of the loopback interface, which every user of the
// machine can reach. Therefore a file in the store's folder that only its
// owner can read names the port and a token, which a caller has to know:
//
//	socket.path   127.0.0.1:54321 TOKEN
const pointerName = "socket.path"

func openDoor(dir string) (*door, error) {
	clearDoor(dir)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	token := rand.Text()
	if err := writePointer(dir, l.Addr().String()+" "+token+"\n"); err != nil {
		l.Close()
		return nil, err
	}
	return &door{listener: l, address: l.Addr().String(), token: token, remove: func() { clearDoor(dir) }}, nil
}

// clearDoor removes what a door leaves, if it is ours. It tries for a moment:
// while somebody reads the file, Windows refuses.
func clearDoor(dir string) {
	for range 50 {
		if _, _, err := readPointer(dir); err != nil {
			return
		}
		if os.Remove(filepath.Join(dir, pointerName)) == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// readPointer returns where the door is said to be, and the token.
func readPointer(dir string) (address, token string, err error) {
	b, err := os.ReadFile(filepath.Join(dir, pointerName))
	if err != nil {
		return "", "", err
	}
	address, token, ok := strings.Cut(strings.TrimSpace(string(b)), " ")
	if host, _, err := net.SplitHostPort(address); !ok || err != nil || host != "127.0.0.1" {
		return "", "", fmt.Errorf("%s names no port of this machine", pointerName)
	}
	return address, token, nil
}

// writePointer makes the file under another name, for its owner alone from
// the first moment, and then gives it its own.
func writePointer(dir, text string) error {
	path := filepath.Join(dir, pointerName)
	if _, err := os.Lstat(path); err == nil {
		return &os.PathError{Op: "write", Path: path, Err: os.ErrExist}
	}
	f, err := createPrivate(path + ".new")
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// createPrivate makes a file that only this user may open.
func createPrivate(path string) (*os.File, error) {
	os.Remove(path)
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, fmt.Errorf("find out who we are: %w", err)
	}
	sd, err := windows.SecurityDescriptorFromString("D:P(A;;FA;;;" + user.User.Sid.String() + ")")
	if err != nil {
		return nil, fmt.Errorf("describe who may read %s: %w", path, err)
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	sa := &windows.SecurityAttributes{SecurityDescriptor: sd}
	sa.Length = uint32(unsafe.Sizeof(*sa))
	h, err := windows.CreateFile(name, windows.GENERIC_WRITE, 0, sa, windows.CREATE_NEW, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, &os.PathError{Op: "create", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}

func knock(ctx context.Context, dir string) (net.Conn, string, error) {
	address, token, err := readPointer(dir)
	if err != nil {
		return nil, "", err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", address)
	return conn, token, err
}
