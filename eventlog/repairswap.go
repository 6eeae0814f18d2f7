package eventlog

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// This file has what Repair does to files and folders.

// copyPebble makes a copy of a store of Pebble's. Tables are never written
// again, so a second name will do for them.
func copyPebble(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	return eachFile(from, func(name string) error {
		if !isPebbles(name) && name != markerFile {
			return nil
		}
		old, now := filepath.Join(from, name), filepath.Join(to, name)
		if ext := filepath.Ext(name); (ext == ".sst" || ext == ".blob") && os.Link(old, now) == nil {
			return nil
		}
		return copyFile(old, now)
	})
}

// ownFiles are those of a store that aren't its engine's; one that is made anew
// has its own.
var ownFiles = []string{markerFile, ackedFile, "LOCK", "PID", reserveFile}

// carryOver copies what a folder holds that is no engine's, such as the tokens
// of a server.
func carryOver(from, to string) error {
	entries, err := os.ReadDir(from)
	for _, e := range entries {
		if name := e.Name(); !isPebbles(name) && !slices.Contains(ownFiles, name) {
			err = errors.Join(err, copyAll(filepath.Join(from, name), filepath.Join(to, name)))
		}
	}
	return err
}

// copyAll copies a file, or a folder with all files and folders in it. Links and
// sockets are left out.
func copyAll(from, to string) error {
	info, err := os.Lstat(from)
	switch {
	case err != nil:
		return err
	case info.Mode().IsRegular():
		return copyFile(from, to)
	case !info.IsDir():
		return nil
	}
	entries, err := os.ReadDir(from)
	err = errors.Join(err, os.MkdirAll(to, info.Mode().Perm()))
	for _, e := range entries {
		err = errors.Join(err, copyAll(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())))
	}
	return errors.Join(err, syncDir(to))
}

func eachFile(dir string, do func(name string) error) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.Type().IsRegular() {
			err = errors.Join(err, do(e.Name()))
		}
	}
	return err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// renameBoth does it in two steps; whoever is stopped between them finds the
// old store where aside says.
func renameBoth(made, old, aside string) error {
	if err := os.Rename(old, aside); err != nil {
		return err
	}
	return os.Rename(made, old)
}
