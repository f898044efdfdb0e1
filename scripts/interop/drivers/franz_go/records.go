// Writing and reading: the operations that move records.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"ringmill/godriver"
)

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

var acknowledgements = map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}

// producer returns the producer for these settings; one is kept for each, as a program would.
func (d *driver) producer(r *godriver.Request) *kgo.Client {
	key := fmt.Sprint(r.Acks, r.Codec, r.Idempotent, r.LingerMs)
	if d.producers[key] == nil {
		options := []kgo.Opt{
			kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(batchBytesMax), kgo.MaxBufferedRecords(1 << 20),
			kgo.ProducerBatchCompression(codecs[r.Codec]), kgo.RequiredAcks(acknowledgements[r.Acks]),
			kgo.ProducerLinger(time.Duration(r.LingerMs) * time.Millisecond), kgo.AllowAutoTopicCreation(),
		}
		if !r.Idempotent {
			// More than one request in flight could change the order when a request is repeated.
			options = append(options, kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1))
		}
		d.producers[key] = d.client(options...)
	}
	return d.producers[key]
}

func (d *driver) produce(r *godriver.Request) (godriver.Answer, error) {
	producer := d.producer(r)
	offsets := make([]*int64, len(r.Records))
	failures := make([]error, len(r.Records))
	for i, record := range r.Records {
		producer.Produce(context.Background(), outgoing(r.Topic, record), func(written *kgo.Record, err error) {
			failures[i] = err
			if r.Acks != "0" {
				offsets[i] = &written.Offset
			}
		})
	}
	if err := producer.Flush(deadline()); err != nil {
		return nil, err
	}
	return godriver.Answer{"offsets": offsets}, errors.Join(failures...)
}

func outgoing(topic string, record godriver.Record) *kgo.Record {
	out := &kgo.Record{Topic: topic, Partition: record.Partition, Key: record.Key, Value: record.Value}
	for _, header := range record.Headers {
		out.Headers = append(out.Headers, kgo.RecordHeader{Key: header.Name, Value: header.Value})
	}
	if record.TimestampMs != nil {
		out.Timestamp = time.UnixMilli(*record.TimestampMs)
	}
	return out
}

func incoming(record *kgo.Record) godriver.Record {
	at := record.Timestamp.UnixMilli()
	in := godriver.Record{Partition: record.Partition, Offset: record.Offset, TimestampMs: &at, Key: record.Key, Value: record.Value,
		Headers: []godriver.Header{}}
	for _, header := range record.Headers {
		in.Headers = append(in.Headers, godriver.Header{Name: header.Key, Value: header.Value})
	}
	return in
}

// reader returns a client that reads one partition from an offset. Its fetches wait long in the broker, so that one that answers
// only at their end is found out by the tail.
func (d *driver) reader(topic string, partition int32, from kgo.Offset) *kgo.Client {
	return d.client(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: from}}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.FetchMaxWait(5*time.Second), kgo.FetchMaxPartitionBytes(4<<20))
}

func (d *driver) consume(r *godriver.Request) (godriver.Answer, error) {
	from := kgo.NewOffset().At(r.From.Offset)
	switch {
	case r.From.Earliest:
		from = kgo.NewOffset().AtStart()
	case r.From.Latest:
		from = kgo.NewOffset().AtEnd()
	case r.From.TimestampMs != nil:
		from = kgo.NewOffset().AfterMilli(*r.From.TimestampMs)
	}
	client := d.reader(r.Topic, r.Partition, from)
	defer client.Close()
	records, err := poll(client, r)
	return godriver.Answer{"records": records}, err
}

func (d *driver) tailStart(r *godriver.Request) (godriver.Answer, error) {
	end, err := listed(d.admin.ListEndOffsets(deadline(), r.Topic))(r)
	if err != nil {
		return nil, err
	}
	if d.tail != nil {
		d.tail.Close()
	}
	d.tail = d.reader(r.Topic, r.Partition, kgo.NewOffset().At(end.Offset))
	return godriver.Answer{"position": end.Offset}, nil
}

func (d *driver) tailRead(r *godriver.Request) (godriver.Answer, error) {
	records, err := poll(d.tail, r)
	return godriver.Answer{"records": records}, err
}

// poll collects records until there are as many as asked for, or the time has passed.
func poll(client *kgo.Client, r *godriver.Request) ([]godriver.Record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), r.Timeout())
	defer cancel()
	records := []godriver.Record{}
	for len(records) < r.Count {
		fetches := client.PollRecords(ctx, r.Count-len(records))
		for _, failure := range fetches.Errors() {
			if ctx.Err() == nil {
				return nil, failure.Err
			}
		}
		fetches.EachRecord(func(record *kgo.Record) { records = append(records, incoming(record)) })
		if ctx.Err() != nil {
			break
		}
	}
	return records, nil
}
