// Writing and reading: the operations that move records.
package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/IBM/sarama"

	"ringmill/godriver"
)

var codecs = map[string]sarama.CompressionCodec{
	"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP, "snappy": sarama.CompressionSnappy,
	"lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD,
}

var acknowledgements = map[string]sarama.RequiredAcks{"0": sarama.NoResponse, "1": sarama.WaitForLocal, "all": sarama.WaitForAll}

// producer returns the producer for these settings; one is kept for each, as a program would.
func (d *driver) producer(r *godriver.Request) (sarama.SyncProducer, error) {
	key := fmt.Sprint(r.Acks, r.Codec, r.Idempotent, r.LingerMs)
	if producer := d.producers[key]; producer != nil {
		return producer, nil
	}
	config := d.config()
	config.Producer.RequiredAcks = acknowledgements[r.Acks]
	config.Producer.Compression = codecs[r.Codec]
	config.Producer.Idempotent = r.Idempotent
	config.Producer.Flush.Frequency = time.Duration(r.LingerMs) * time.Millisecond
	producer, err := sarama.NewSyncProducer([]string{d.address}, config)
	if err == nil {
		d.producers[key] = producer
	}
	return producer, err
}

func (d *driver) produce(r *godriver.Request) (godriver.Answer, error) {
	producer, err := d.producer(r)
	if err != nil {
		return nil, err
	}
	messages := make([]*sarama.ProducerMessage, len(r.Records))
	for i, record := range r.Records {
		messages[i] = outgoing(r.Topic, record)
	}
	if err := producer.SendMessages(messages); err != nil {
		var failures sarama.ProducerErrors
		if errors.As(err, &failures) {
			err = fmt.Errorf("%d of %d: %w", len(failures), len(messages), failures[0].Err)
		}
		return nil, err
	}
	offsets := make([]*int64, len(messages))
	for i, message := range messages {
		if r.Acks != "0" {
			offsets[i] = &message.Offset
		}
	}
	return godriver.Answer{"offsets": offsets}, nil
}

func outgoing(topic string, record godriver.Record) *sarama.ProducerMessage {
	out := &sarama.ProducerMessage{Topic: topic, Partition: record.Partition}
	if record.Key != nil {
		out.Key = sarama.ByteEncoder(record.Key)
	}
	if record.Value != nil {
		out.Value = sarama.ByteEncoder(record.Value)
	}
	for _, header := range record.Headers {
		out.Headers = append(out.Headers, sarama.RecordHeader{Key: []byte(header.Name), Value: header.Value})
	}
	if record.TimestampMs != nil {
		out.Timestamp = time.UnixMilli(*record.TimestampMs)
	}
	return out
}

func incoming(message *sarama.ConsumerMessage) godriver.Record {
	at := message.Timestamp.UnixMilli()
	in := godriver.Record{Partition: message.Partition, Offset: message.Offset, TimestampMs: &at, Key: message.Key, Value: message.Value,
		Headers: []godriver.Header{}}
	for _, header := range message.Headers {
		in.Headers = append(in.Headers, godriver.Header{Name: string(header.Key), Value: header.Value})
	}
	return in
}

func (d *driver) consume(r *godriver.Request) (godriver.Answer, error) {
	from := r.From.Offset
	switch {
	case r.From.Earliest:
		from = sarama.OffsetOldest
	case r.From.Latest:
		from = sarama.OffsetNewest
	case r.From.TimestampMs != nil:
		found, err := d.client.GetOffset(r.Topic, r.Partition, *r.From.TimestampMs)
		if err != nil {
			return nil, err
		}
		if from = found; found < 0 {
			from = sarama.OffsetNewest
		}
	}
	reader, err := d.consumer.ConsumePartition(r.Topic, r.Partition, from)
	if err != nil {
		return nil, err
	}
	records, err := collect(reader, r)
	return godriver.Answer{"records": records}, errors.Join(err, reader.Close())
}

func (d *driver) tailStart(r *godriver.Request) (godriver.Answer, error) {
	if d.tail != nil {
		d.tail.AsyncClose()
	}
	end, err := d.client.GetOffset(r.Topic, r.Partition, sarama.OffsetNewest)
	if err != nil {
		return nil, err
	}
	d.tail, err = d.tailing.ConsumePartition(r.Topic, r.Partition, end)
	return godriver.Answer{"position": end}, err
}

func (d *driver) tailRead(r *godriver.Request) (godriver.Answer, error) {
	records, err := collect(d.tail, r)
	return godriver.Answer{"records": records}, err
}

// collect takes records until there are as many as asked for, or the time has passed. Errors on the way (the broker restarts)
// are sarama's to mend; they are told only if nothing more came.
func collect(reader sarama.PartitionConsumer, r *godriver.Request) ([]godriver.Record, error) {
	records := []godriver.Record{}
	late := time.After(r.Timeout())
	for len(records) < r.Count {
		select {
		case message := <-reader.Messages():
			if message == nil {
				return records, errors.New("the partition consumer ended")
			}
			records = append(records, incoming(message))
		case failure := <-reader.Errors():
			fmt.Fprintln(os.Stderr, failure)
		case <-late:
			return records, nil
		}
	}
	return records, nil
}
