package eventlog

import "errors"

// Open opens the store in dir.
func Open(dir string, o Options) (*Log, error) {
	return nil, errors.New("open: the Pebble store comes with the next commit")
}
