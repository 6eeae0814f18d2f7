package providers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// This file reads what a child writes: lines for people, and one outcome.

// liveLine is the length up to which a line is shown live, in bytes.
const liveLine = 4 << 10

// copyLines keeps what comes from r and shows each whole line as progress.
func copyLines(keep *excerpt, r io.Reader, host Host, stream string) {
	buffer := make([]byte, 32<<10)
	var line []byte
	for {
		n, err := r.Read(buffer)
		_, _ = keep.Write(buffer[:n])
		line = showLines(line, buffer[:n], host, stream)
		if err != nil {
			if len(line) > 0 {
				showLine(line, host, stream)
			}
			return
		}
	}
}

// showLines shows the lines that end in chunk, the first of which began with
// line, and returns the beginning of the next.
func showLines(line, chunk []byte, host Host, stream string) []byte {
	for {
		end := bytes.IndexByte(chunk, '\n')
		if end < 0 {
			return append(line, chunk[:min(len(chunk), max(liveLine-len(line), 0))]...)
		}
		line = append(line, chunk[:min(end, max(liveLine-len(line), 0))]...)
		showLine(line, host, stream)
		line, chunk = line[:0], chunk[end+1:]
	}
}

func showLine(line []byte, host Host, stream string) {
	text := strings.ToValidUTF8(strings.TrimSuffix(string(line), "\r"), "\ufffd")
	host.Progress(Progress{Message: text, Stream: stream})
}

// readOutcome reads the one frame that begins with the nonce.
func readOutcome(r io.Reader, nonce string) (o pythonOutcome, err error) {
	head := make([]byte, len(nonce)+16)
	if _, err := io.ReadFull(r, head); err != nil {
		return o, errors.New("nothing came back")
	}
	length, err := strconv.ParseUint(string(head[len(nonce):]), 16, 63)
	if err != nil || string(head[:len(nonce)]) != nonce {
		return o, errors.New("something else wrote on the pipe of the result")
	}
	if length > pythonResult+1<<20 {
		return o, fmt.Errorf("the outcome is %d bytes", length)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return o, errors.New("it was cut off while it came back")
	}
	if err := json.Unmarshal(body, &o); err != nil {
		return o, fmt.Errorf("what came back is not JSON: %v", err)
	}
	return o, nil
}

// lastBytes returns the end of text, at most n bytes of whole characters.
func lastBytes(text string, n int) string {
	if len(text) <= n {
		return text
	}
	text = text[len(text)-n:]
	for len(text) > 0 && !utf8.RuneStart(text[0]) {
		text = text[1:]
	}
	return "…" + text
}
