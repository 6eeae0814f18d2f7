package eventlog

import (
	"fmt"
	"iter"
	"strings"
)

// Read gives the durable records from Seq from on, in order, up to the last one
// at the time when it gets there; it does not wait for more (see Follow).
// Deleted records are passed over. A record that can't be read ends it with an
// error that names the place. A record's slices are the caller's to keep.
// The log may be used in the loop's body.
func (l *Log) Read(from Seq) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		c := cursor{log: l, next: from}
		c.emit(yield)
	}
}

// ReadStream is Read for the records of one stream. It costs nothing for the
// records of other streams. A stream that does not exist has no records.
func (l *Log) ReadStream(stream string, from Seq) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		if checkStream(stream) != nil {
			return
		}
		c := cursor{log: l, next: from, stream: stream}
		c.emit(yield)
	}
}

// cursor reads on from where it stands, all records or those of one stream.
type cursor struct {
	log    *Log
	stream string // "" for all
	next   Seq    // nothing before it is of interest any more
	page   page
	decode decoder
}

// emit yields all that is durable. It returns whether the reader wants more;
// after an error it does not.
func (c *cursor) emit(yield func(Record, error) bool) bool {
	for {
		more, err := c.fill()
		if err != nil {
			yield(Record{}, err)
			return false
		}
		for _, w := range c.page.rows {
			r, err := c.decode.record(w)
			if !yield(r, err) || err != nil {
				return false
			}
			c.next = w.seq + 1
		}
		if !more {
			return true
		}
	}
}

// fill reads the next page and tells whether there may be another one.
func (c *cursor) fill() (more bool, err error) {
	if err := c.log.enter(); err != nil {
		return false, err
	}
	defer c.log.leave()
	last := c.log.Last()
	c.page.reset()
	if c.next > last {
		return false, nil
	}
	if c.stream == "" {
		err = c.log.store.records(c.next, last, &c.page)
	} else {
		err = c.log.store.stream(c.stream, c.next, last, &c.page)
	}
	if err != nil {
		return false, fmt.Errorf("read %s from record %d on: %w", c.what(), c.next, err)
	}
	if c.page.full() {
		return true, nil
	}
	if n := len(c.page.rows); n == 0 {
		c.next = last + 1
	}
	return false, nil
}

func (c *cursor) what() string {
	if c.stream == "" {
		return "the log"
	}
	return fmt.Sprintf("stream %q", c.stream)
}

// Value returns the bytes of a value, which are the caller's, or an error that
// is ErrNotFound.
func (l *Log) Value(h Hash) ([]byte, error) {
	if err := l.enter(); err != nil {
		return nil, err
	}
	defer l.leave()
	v, err := l.store.value(h)
	if err != nil {
		return nil, fmt.Errorf("value %s: %w", h, err)
	}
	return v, nil
}

// Head returns the last durable record of a stream, and whether there is one.
// For a deleted stream that is the mark of its deletion.
func (l *Log) Head(stream string) (Record, bool, error) {
	if err := l.enter(); err != nil {
		return Record{}, false, err
	}
	defer l.leave()
	if checkStream(stream) != nil {
		return Record{}, false, nil
	}
	end, err := l.store.head(stream, l.Last())
	if err != nil {
		return Record{}, false, fmt.Errorf("read the end of stream %q: %w", stream, err)
	}
	if end.body == nil {
		return Record{}, false, nil
	}
	var d decoder
	r, err := d.record(end)
	if err != nil {
		return Record{}, false, fmt.Errorf("stream %q: %w", stream, err)
	}
	return r, true, nil
}

// Lookup returns the stream that took a key (see Record.Keys), and whether
// there is one.
func (l *Log) Lookup(key string) (stream string, ok bool, err error) {
	if err := l.enter(); err != nil {
		return "", false, err
	}
	defer l.leave()
	c, ok, err := l.store.claim(key)
	if err != nil {
		return "", false, fmt.Errorf("look up key %q: %w", key, err)
	}
	if !ok || c.seq > l.Last() {
		return "", false, nil
	}
	return c.stream, true, nil
}

// Streams gives the names that begin with prefix in byte order, or in the
// reverse order. Unless after is empty, it begins with the next name beyond
// after in that direction. Deleted streams are left out.
func (l *Log) Streams(prefix string, reverse bool, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if strings.ContainsRune(prefix+after, 0) {
			yield("", fmt.Errorf("list the streams: %q has a NUL byte", prefix+after))
			return
		}
		for {
			names, err := l.streams(prefix, reverse, after)
			if err != nil {
				yield("", err)
				return
			}
			for _, name := range names {
				if !yield(name, nil) {
					return
				}
			}
			if len(names) < pageRows {
				return
			}
			after = names[len(names)-1]
		}
	}
}

func (l *Log) streams(prefix string, reverse bool, after string) ([]string, error) {
	if err := l.enter(); err != nil {
		return nil, err
	}
	defer l.leave()
	names, err := l.store.streams(listing{prefix: prefix, after: after, reverse: reverse, to: l.Last(), limit: pageRows})
	if err != nil {
		return nil, fmt.Errorf("list the streams: %w", err)
	}
	return names, nil
}
