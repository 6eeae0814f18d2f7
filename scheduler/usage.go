package scheduler

import (
	"encoding/json"

	"gleitzeit/replay"
)

// usageOf reads what a call has cost from its result, or from the data of its
// error: the "usage" that language.md ("Results") gives, and cost_usd when the
// provider knows its prices.
func usageOf(raw json.RawMessage) replay.Usage {
	var said struct {
		Usage struct {
			Total int64   `json:"total_tokens"`
			USD   float64 `json:"cost_usd"`
		} `json:"usage"`
	}
	if len(raw) == 0 || raw[0] != '{' || json.Unmarshal(raw, &said) != nil {
		return replay.Usage{}
	}
	const most = 1e9 // of either: an answer must not make a sum that overflows
	return replay.Usage{Tokens: min(max(said.Usage.Total, 0), most), MicroUSD: replay.MicroUSD(min(max(said.Usage.USD, 0), most/1e6))}
}
