package godriver

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"
)

// MemberSettings is what a group member is started with; see runner/groups/member.py.
type MemberSettings struct {
	Name        string  `json:"name"`
	Topic       string  `json:"topic"`
	Group       string  `json:"group"`
	Protocol    string  `json:"protocol"`
	Assignor    string  `json:"assignor"`
	Instance    *string `json:"instance"`
	SessionMs   int     `json:"session_ms"`
	HeartbeatMs int     `json:"heartbeat_ms"`
	RebalanceMs int     `json:"rebalance_ms"`
}

// Duration is a number of milliseconds from the settings.
func Duration(ms int) time.Duration { return time.Duration(ms) * time.Millisecond }

// Report is what a group member tells, a JSON line each (runner/groups/history.py), and what it must still commit.
type Report struct {
	Settings MemberSettings
	Closing  chan struct{} // closed when the member is to leave

	lock    sync.Mutex
	owned   map[int32]bool
	dirty   map[int32]int64
	commits int
}

// NewReport reads the settings from a command line's argument, and from then on waits for the end of stdin.
func NewReport(settings string) *Report {
	r := &Report{Closing: make(chan struct{}), owned: map[int32]bool{}, dirty: map[int32]int64{}}
	if err := json.Unmarshal([]byte(settings), &r.Settings); err != nil {
		fmt.Fprintln(os.Stderr, "settings:", err)
		os.Exit(2)
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(r.Closing)
	}()
	return r
}

// tell writes one line at once, so that a kill does not take it along.
func (r *Report) tell(event string, fields Answer) {
	fields["e"] = event
	fields["t"] = float64(time.Now().UnixMicro()) / 1000
	line, _ := json.Marshal(fields)
	os.Stdout.Write(append(line, '\n'))
}

// Gained notes partitions that the client has been given beside what it has.
func (r *Report) Gained(partitions ...int32) {
	r.lock.Lock()
	defer r.lock.Unlock()
	for _, partition := range partitions {
		r.owned[partition] = true
	}
	r.tellOwned()
}

// Lost notes partitions that the client has given back or that were taken.
func (r *Report) Lost(partitions ...int32) {
	r.lock.Lock()
	defer r.lock.Unlock()
	for _, partition := range partitions {
		delete(r.owned, partition)
		delete(r.dirty, partition)
	}
	r.tellOwned()
}

func (r *Report) tellOwned() {
	partitions := []int32{}
	for partition := range r.owned {
		partitions = append(partitions, partition)
	}
	sort.Slice(partitions, func(a, b int) bool { return partitions[a] < partitions[b] })
	r.tell("owned", Answer{"partitions": partitions})
}

// Read processes records of one partition, as offsets and values: each must be what was written at its offset.
func (r *Report) Read(partition int32, records []Record) {
	r.lock.Lock()
	defer r.lock.Unlock()
	for len(records) > 0 {
		count := 1
		for count < len(records) && records[count].Offset == records[count-1].Offset+1 {
			count++
		}
		for _, record := range records[:count] {
			if string(record.Value) != strconv.Itoa(int(partition))+":"+strconv.FormatInt(record.Offset, 10) {
				r.tell("wrong", Answer{"p": partition, "offset": record.Offset, "value": string(record.Value)})
			}
		}
		end := records[count-1].Offset + 1
		r.tell("read", Answer{"p": partition, "from": records[0].Offset, "to": end})
		r.dirty[partition] = end
		records = records[count:]
	}
}

// Commit commits what was read since the last time. Nothing is read, given or lost meanwhile; `commit` must not wait for that. A client
// that does not say what became of its commit gives ErrUntold.
func (r *Report) Commit(commit func(offsets map[int32]int64) error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if len(r.dirty) == 0 {
		return
	}
	r.commits++
	offsets := map[int32]int64{}
	for partition, offset := range r.dirty {
		offsets[partition] = offset
	}
	r.tell("commit", Answer{"n": r.commits, "offsets": offsets})
	switch err := commit(offsets); err {
	case nil:
		r.tell("committed", Answer{"n": r.commits})
		r.dirty = map[int32]int64{}
	case ErrUntold:
		r.dirty = map[int32]int64{}
	default:
		r.tell("refused", Answer{"n": r.commits, "error": fmt.Sprintf("%T: %v", err, err)})
	}
}

// ErrUntold is what becomes of a commit with a client that does not say it.
var ErrUntold = fmt.Errorf("the client does not tell")

// Error notes what the client complained of; no fault by itself.
func (r *Report) Error(err error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.tell("error", Answer{"error": fmt.Sprintf("%T: %v", err, err)})
}
