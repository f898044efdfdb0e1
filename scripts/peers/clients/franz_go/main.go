// Sends records with franz-go at its best settings for one producer, and prints the seconds that it took.
//
// Usage: driver ADDRESS TOPIC RECORDS RECORD_BYTES. Called by scripts/ceiling.
package main

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// Values differ, but making them must not cost what is measured.
	distinctValues = 1000
	// As many are sent before the clock starts, so that connections and memory are there.
	warmUpRecords = 50_000
	batchBytesMax = 1_000_000
	// Records that may wait; Produce waits when there are more.
	bufferedRecordsMax = 200_000
)

func main() {
	records, err := strconv.Atoi(os.Args[3])
	fail(err)
	recordBytes, err := strconv.Atoi(os.Args[4])
	fail(err)
	client, err := kgo.NewClient(
		kgo.SeedBrokers(os.Args[1]),
		kgo.DefaultProduceTopic(os.Args[2]),
		kgo.ProducerBatchMaxBytes(batchBytesMax),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(5*time.Millisecond),
		kgo.MaxBufferedRecords(bufferedRecordsMax),
	)
	fail(err)
	values := make([][]byte, distinctValues)
	for i := range values {
		values[i] = make([]byte, recordBytes)
		rand.Read(values[i])
	}
	send(client, values, warmUpRecords)
	started := time.Now()
	send(client, values, records)
	fmt.Printf("%.6f\n", time.Since(started).Seconds())
	client.Close()
}

func send(client *kgo.Client, values [][]byte, records int) {
	ctx := context.Background()
	var failure atomic.Pointer[error]
	for sent := 0; sent < records; sent++ {
		client.Produce(ctx, &kgo.Record{Value: values[sent%len(values)]}, func(_ *kgo.Record, err error) {
			if err != nil {
				failure.Store(&err)
			}
		})
	}
	fail(client.Flush(ctx))
	if err := failure.Load(); err != nil {
		fail(*err)
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
