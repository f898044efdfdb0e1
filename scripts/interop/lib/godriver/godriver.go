// Package godriver is the part that the drivers of Go clients share: it reads one JSON request a line, calls the operation that
// it names, and writes one JSON answer a line.
//
// It knows no client library. The drivers in scripts/interop/drivers give it their operations.
package godriver

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

// Request holds the fields of every operation; an operation reads those that are its own.
type Request struct {
	Op          string            `json:"op"`
	Topic       string            `json:"topic"`
	Partitions  int32             `json:"partitions"`
	Partition   int32             `json:"partition"`
	Count       int               `json:"count"`
	Configs     map[string]string `json:"configs"`
	Before      int64             `json:"before"`
	Acks        string            `json:"acks"`
	Codec       string            `json:"codec"`
	Idempotent  bool              `json:"idempotent"`
	LingerMs    int               `json:"linger_ms"`
	TimeoutMs   int               `json:"timeout_ms"`
	TimestampMs int64             `json:"timestamp_ms"`
	From        Position          `json:"from"`
	Records     []Record          `json:"records"`
}

// Timeout is how long the operation may take.
func (r *Request) Timeout() time.Duration { return time.Duration(r.TimeoutMs) * time.Millisecond }

// Record is a record to write or one that was read. Bytes travel as base64; nil is null, which is not the same as empty.
type Record struct {
	Partition   int32    `json:"partition"`
	Offset      int64    `json:"offset"`
	TimestampMs *int64   `json:"timestamp_ms"`
	Key         []byte   `json:"key"`
	Value       []byte   `json:"value"`
	Headers     []Header `json:"headers"`
}

// Header is a pair, written as an array of two.
type Header struct {
	Name  string
	Value []byte
}

// MarshalJSON writes [name, base64 or null].
func (h Header) MarshalJSON() ([]byte, error) { return json.Marshal([]any{h.Name, h.Value}) }

// UnmarshalJSON reads the same.
func (h *Header) UnmarshalJSON(text []byte) error {
	return json.Unmarshal(text, &[]any{&h.Name, &h.Value})
}

// Position is where reading starts: one of its fields is set.
type Position struct {
	Earliest, Latest bool
	TimestampMs      *int64
	Offset           int64
}

// UnmarshalJSON reads "earliest", "latest", {"timestamp_ms": t} or an offset.
func (p *Position) UnmarshalJSON(text []byte) error {
	switch string(text) {
	case `"earliest"`:
		p.Earliest = true
		return nil
	case `"latest"`:
		p.Latest = true
		return nil
	case `null`:
		return nil
	}
	if text[0] == '{' {
		var at struct {
			TimestampMs *int64 `json:"timestamp_ms"`
		}
		err := json.Unmarshal(text, &at)
		p.TimestampMs = at.TimestampMs
		return err
	}
	return json.Unmarshal(text, &p.Offset)
}

// Answer is what an operation returns beside "ok".
type Answer map[string]any

// Operation carries out one request.
type Operation func(*Request) (Answer, error)

// Check is one line of the answer of "extras".
type Check struct {
	Name   string `json:"name"`
	Ok     bool   `json:"ok"`
	Detail string `json:"detail"`
}

// NewCheck runs a check; its error is the detail.
func NewCheck(name string, run func() error) Check {
	if err := run(); err != nil {
		return Check{name, false, err.Error()}
	}
	return Check{Name: name, Ok: true}
}

// Serve answers requests until "bye" or the end of stdin.
func Serve(operations map[string]Operation) {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "stdin:", err)
			os.Exit(1)
		}
		var request Request
		if err := json.Unmarshal(line, &request); err != nil {
			out.Encode(failure(err))
			continue
		}
		out.Encode(carryOut(operations, &request))
		if request.Op == "bye" {
			return
		}
	}
}

func carryOut(operations map[string]Operation, request *Request) Answer {
	operation, known := operations[request.Op]
	if !known {
		return failure(fmt.Errorf("unknown operation %q", request.Op))
	}
	answer, err := operation(request)
	if err != nil {
		return failure(err)
	}
	if answer == nil {
		answer = Answer{}
	}
	answer["ok"] = true
	return answer
}

func failure(err error) Answer {
	return Answer{"ok": false, "error": fmt.Sprintf("%T: %v", err, err)}
}
