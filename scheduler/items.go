package scheduler

import (
	"encoding/json"
	"fmt"
	"sync"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// The items of a foreach lie in the log in chunks, so that a worker loads a
// chunk and not all of them, and an event names at most maxChunks of them.
const (
	minChunk  = 64
	maxChunks = 256
	// maxItems bounds a foreach: each instance is kept in memory.
	maxItems = 100_000
)

// chunks cuts items up and returns how many there are in each.
func chunks(items []protocols.ItemValue) (values []replay.Value, size int, err error) {
	if len(items) > maxItems {
		return nil, 0, protocols.Errorf(protocols.TaskParameterError, "the foreach has %d items, the limit is %d", len(items), maxItems)
	}
	bytes := 0
	size = max(minChunk, (len(items)+maxChunks-1)/maxChunks)
	for from := 0; from < len(items); from += size {
		chunk := make([]replay.Item, 0, size)
		for _, item := range items[from:min(from+size, len(items))] {
			chunk = append(chunk, replay.Item{Value: item.Value, Key: item.Key})
		}
		raw, err := json.Marshal(chunk)
		if err != nil {
			return nil, 0, fmt.Errorf("write items: %w", err)
		}
		if bytes += len(raw); bytes > maxValue {
			return nil, 0, protocols.Errorf(protocols.TaskParameterError, "the items have more than %d bytes", maxValue)
		}
		if len(items) <= size {
			values = append(values, replay.NewValue(raw))
		} else { // not inline: all of them share one record
			values = append(values, replay.StoredValue(raw))
		}
	}
	return values, size, nil
}

// itemPlace says where an instance's item lies.
type itemPlace struct {
	name  chunkName
	chunk replay.Value
	at    int // in the chunk
	index int // among all items
}

// chunkName tells a chunk from all others of the store.
type chunkName struct {
	run          uint64
	first, chunk int
}

// placeOf finds the item of an instance; nil for any other task.
func placeOf(r *replay.Run, task int) *itemPlace {
	index := r.Item(task)
	if index < 0 {
		return nil
	}
	e := r.Tasks[r.Def(task)].Each
	n := index / e.Size
	return &itemPlace{name: chunkName{r.Number, e.First, n}, chunk: e.Items[n], at: index % e.Size, index: index}
}

// load reads the item.
func (p *itemPlace) load(read *chunkReader, get func(eventlog.Hash) ([]byte, error)) (*protocols.ItemValue, error) {
	chunk, err := read.chunk(p, get)
	if err != nil {
		return nil, err
	}
	if p.at >= len(chunk) {
		return nil, fmt.Errorf("the chunk has %d items, not %d", len(chunk), p.at+1)
	}
	return &protocols.ItemValue{Value: chunk[p.at].Value, Key: chunk[p.at].Key, Index: p.index}, nil
}

// keptChunks is how many chunks stay read: instances start in their order, so
// that neighbours want the same one.
const keptChunks = 8

// chunkReader reads chunks, and keeps the last ones.
type chunkReader struct {
	mu    sync.Mutex
	kept  map[chunkName][]replay.Item
	order []chunkName // oldest first
}

func (c *chunkReader) chunk(p *itemPlace, get func(eventlog.Hash) ([]byte, error)) ([]replay.Item, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if chunk, ok := c.kept[p.name]; ok {
		return chunk, nil
	}
	raw, err := p.chunk.Load(get)
	if err != nil {
		return nil, err
	}
	var chunk []replay.Item
	if err := json.Unmarshal(raw, &chunk); err != nil {
		return nil, err
	}
	if c.kept == nil {
		c.kept = map[chunkName][]replay.Item{}
	}
	if len(c.order) == keptChunks {
		delete(c.kept, c.order[0])
		c.order = c.order[1:]
	}
	c.kept[p.name] = chunk
	c.order = append(c.order, p.name)
	return chunk, nil
}
