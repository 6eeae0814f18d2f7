package scheduler

import (
	"encoding/json"
	"fmt"

	"gleitzeit/eventlog"
	"gleitzeit/protocols"
	"gleitzeit/replay"
)

// The items of a foreach lie in the log in chunks, so that a worker loads a
// chunk and not all of them, and an event names at most maxChunks of them.
const (
	minChunk  = 64
	maxChunks = 256
)

// chunks cuts items up and returns how many there are in each.
func chunks(items []protocols.ItemValue) (values []replay.Value, size int, err error) {
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
		values = append(values, replay.NewValue(raw))
	}
	return values, size, nil
}

// itemPlace says where an instance's item lies.
type itemPlace struct {
	chunk replay.Value
	at    int // in the chunk
	index int // among all items
}

// placeOf finds the item of an instance; nil for any other task.
func placeOf(r *replay.Run, task int) *itemPlace {
	index := r.Item(task)
	if index < 0 {
		return nil
	}
	e := r.Tasks[r.Def(task)].Each
	return &itemPlace{chunk: e.Items[index/e.Size], at: index % e.Size, index: index}
}

// load reads the item.
func (p *itemPlace) load(get func(eventlog.Hash) ([]byte, error)) (*protocols.ItemValue, error) {
	raw, err := p.chunk.Load(get)
	if err != nil {
		return nil, err
	}
	var chunk []replay.Item
	if err := json.Unmarshal(raw, &chunk); err != nil {
		return nil, err
	}
	if p.at >= len(chunk) {
		return nil, fmt.Errorf("the chunk has %d items, not %d", len(chunk), p.at+1)
	}
	return &protocols.ItemValue{Value: chunk[p.at].Value, Key: chunk[p.at].Key, Index: p.index}, nil
}
