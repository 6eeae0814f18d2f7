package worker_test

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"os/signal"
	"strings"

	"gleitzeit/cli/worker"
	"gleitzeit/protocols"
	"gleitzeit/providers"
)

// A worker that counts words, for a server whose configuration has
//
//	providers: {words: {kind: remote, protocols: [words/v1]}}
func ExampleRun() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := worker.Run(ctx, worker.Options{
		Server: "http://127.0.0.1:8765",
		Token:  os.Getenv("GLEITZEIT_TOKEN"),
		Offers: []providers.WorkerOffer{{Provider: "words", Protocol: "words/v1", Methods: []*protocols.Method{{
			Name:       "words/count",
			Parameters: json.RawMessage(`{"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}`),
		}}}},
		Do: func(_ context.Context, c worker.Call) (json.RawMessage, error) {
			var p struct{ Text string }
			if err := json.Unmarshal(c.Parameters, &p); err != nil {
				return nil, err
			}
			return json.Marshal(map[string]int{"words": len(strings.Fields(p.Text))})
		},
	})
	if err != nil {
		log.Fatal(err)
	}
}
