// Writing and reading: the operations that move records.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go"

	"ringmill/godriver"
)

// A value of 1 MB and its envelope; kafka-go counts otherwise than Kafka, so this is a little less than max.message.bytes.
const batchBytesMax = 1_048_000

var codecs = map[string]kafka.Compression{
	"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
}

var acknowledgements = map[string]kafka.RequiredAcks{"0": kafka.RequireNone, "1": kafka.RequireOne, "all": kafka.RequireAll}

// sent goes along with a message: where it is to go, and where to note its offset.
type sent struct {
	partition int
	offset    *int64
}

// byHand is the balancer that takes the partition from the message.
type byHand struct{}

func (byHand) Balance(message kafka.Message, partitions ...int) int {
	return message.WriterData.(sent).partition
}

// writer returns the writer for these settings; one is kept for each, as a program would.
func (d *driver) writer(r *godriver.Request) *kafka.Writer {
	key := fmt.Sprint(r.Acks, r.Codec, r.LingerMs)
	if d.writers[key] == nil {
		d.writers[key] = &kafka.Writer{
			Addr: kafka.TCP(d.address), Balancer: byHand{}, RequiredAcks: acknowledgements[r.Acks], Compression: codecs[r.Codec],
			BatchBytes: batchBytesMax, BatchSize: 1000, BatchTimeout: time.Duration(max(r.LingerMs, 1)) * time.Millisecond,
			MaxAttempts: 60, WriteBackoffMin: 50 * time.Millisecond, WriteBackoffMax: time.Second, AllowAutoTopicCreation: true,
			Completion: noteOffsets,
		}
	}
	return d.writers[key]
}

func noteOffsets(messages []kafka.Message, err error) {
	for _, message := range messages {
		*message.WriterData.(sent).offset = message.Offset
	}
}

func (d *driver) produce(r *godriver.Request) (godriver.Answer, error) {
	messages := make([]kafka.Message, len(r.Records))
	offsets := make([]*int64, len(r.Records))
	for i, record := range r.Records {
		offset := new(int64)
		messages[i] = outgoing(r.Topic, record)
		messages[i].WriterData = sent{int(record.Partition), offset}
		if r.Acks != "0" {
			offsets[i] = offset
		}
	}
	err := again(func() error { return d.writer(r).WriteMessages(deadline(), messages...) })
	var failures kafka.WriteErrors
	if errors.As(err, &failures) {
		err = fmt.Errorf("%d of %d: %w", failures.Count(), len(messages), errors.Join(failures...))
	}
	return godriver.Answer{"offsets": offsets}, err
}

func outgoing(topic string, record godriver.Record) kafka.Message {
	out := kafka.Message{Topic: topic, Key: record.Key, Value: record.Value}
	for _, header := range record.Headers {
		out.Headers = append(out.Headers, kafka.Header{Key: header.Name, Value: header.Value})
	}
	if record.TimestampMs != nil {
		out.Time = time.UnixMilli(*record.TimestampMs)
	}
	return out
}

// consume fetches by itself: the Reader does not tell an empty value from none.
func (d *driver) consume(r *godriver.Request) (godriver.Answer, error) {
	offset, err := d.position(r)
	if err != nil {
		return nil, err
	}
	late := time.Now().Add(r.Timeout())
	records := []godriver.Record{}
	for len(records) < r.Count && time.Now().Before(late) {
		var answer *kafka.FetchResponse
		err := again(func() (err error) {
			answer, err = d.client.Fetch(deadline(), &kafka.FetchRequest{
				Topic: r.Topic, Partition: int(r.Partition), Offset: offset, MinBytes: 1, MaxBytes: 4 << 20,
				MaxWait: min(time.Until(late), 500*time.Millisecond),
			})
			return err
		})
		if err == nil {
			err = answer.Error
		}
		if err != nil {
			return nil, err
		}
		for len(records) < r.Count {
			record, err := answer.Records.ReadRecord()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return nil, err
			}
			if record.Offset < offset {
				continue
			}
			offset = record.Offset + 1
			in, err := incoming(r.Partition, record)
			if err != nil {
				return nil, err
			}
			records = append(records, in)
		}
	}
	return godriver.Answer{"records": records}, nil
}

func (d *driver) position(r *godriver.Request) (int64, error) {
	if r.From.TimestampMs != nil {
		found, err := d.offsetForTime(&godriver.Request{Topic: r.Topic, Partition: r.Partition, TimestampMs: *r.From.TimestampMs})
		if offset, ok := found["offset"].(int64); ok || err != nil {
			return offset, err
		}
	} else if !r.From.Earliest && !r.From.Latest {
		return r.From.Offset, nil
	}
	found, err := d.offsets(r, kafka.FirstOffsetOf(int(r.Partition)), kafka.LastOffsetOf(int(r.Partition)))
	if r.From.Earliest {
		return found.FirstOffset, err
	}
	return found.LastOffset, err
}

func incoming(partition int32, record *kafka.Record) (godriver.Record, error) {
	key, keyError := kafka.ReadAll(record.Key)
	value, valueError := kafka.ReadAll(record.Value)
	at := record.Time.UnixMilli()
	in := godriver.Record{Partition: partition, Offset: record.Offset, TimestampMs: &at, Key: key, Value: value, Headers: []godriver.Header{}}
	for _, header := range record.Headers {
		in.Headers = append(in.Headers, godriver.Header{Name: header.Key, Value: header.Value})
	}
	return in, errors.Join(keyError, valueError)
}

// reader returns a reader of one partition from an offset, which may be kafka.FirstOffset or kafka.LastOffset.
func (d *driver) reader(topic string, partition int32, from int64) (*kafka.Reader, error) {
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{d.address}, Topic: topic, Partition: int(partition), MinBytes: 1, MaxBytes: 10 << 20,
		MaxWait: 250 * time.Millisecond, ReadBackoffMin: 20 * time.Millisecond, ReadBackoffMax: 250 * time.Millisecond, MaxAttempts: 60,
	})
	return reader, reader.SetOffset(from)
}

func (d *driver) tailStart(r *godriver.Request) (godriver.Answer, error) {
	answer, err := d.watermarks(r)
	if err != nil {
		return nil, err
	}
	if d.tail != nil {
		d.tail.Close()
	}
	end := answer["high"].(int64)
	d.tail, err = d.reader(r.Topic, r.Partition, end)
	return godriver.Answer{"position": end}, err
}

func (d *driver) tailRead(r *godriver.Request) (godriver.Answer, error) {
	records, err := collect(d.tail, r)
	return godriver.Answer{"records": records}, err
}

// collect reads records until there are as many as asked for, or the time has passed.
func collect(reader *kafka.Reader, r *godriver.Request) ([]godriver.Record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), r.Timeout())
	defer cancel()
	records := []godriver.Record{}
	for len(records) < r.Count {
		message, err := reader.ReadMessage(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			return nil, err
		}
		in, err := incoming(int32(message.Partition), &kafka.Record{Offset: message.Offset, Time: message.Time, Headers: message.Headers,
			Key: kafka.NewBytes(message.Key), Value: kafka.NewBytes(message.Value)})
		if err != nil {
			return nil, err
		}
		records = append(records, in)
	}
	return records, nil
}
