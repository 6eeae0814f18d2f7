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
	return &door{listener: l, token: token, remove: func() { clearDoor(dir) }}, nil
}

func clearDoor(dir string) { os.Remove(filepath.Join(dir, pointerName)) }

// writePointer makes the file under another name, for its owner alone from
// the first moment, and then gives it its own.
func writePointer(dir, text string) error {
	path := filepath.Join(dir, pointerName)
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
	return rename(path+".new", path)
}

// rename tries for a moment: while somebody reads the old file, Windows
// refuses.
func rename(from, to string) (err error) {
	for range 50 {
		if err = os.Rename(from, to); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
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
	b, err := os.ReadFile(filepath.Join(dir, pointerName))
	if err != nil {
		return nil, "", err
	}
	address, token, ok := strings.Cut(strings.TrimSpace(string(b)), " ")
	host, _, err := net.SplitHostPort(address)
	if !ok || err != nil || host != "127.0.0.1" {
		return nil, "", fmt.Errorf("%s names no port of this machine", pointerName)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp4", address)
	return conn, token, err
}
