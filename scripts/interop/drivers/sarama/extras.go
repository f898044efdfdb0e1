// What users of sarama do beyond the table of scenarios. Each check makes its own topics; the first error is its detail.
package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"ringmill/godriver"
)

func (d *driver) extras(*godriver.Request) (godriver.Answer, error) {
	checks := []godriver.Check{
		godriver.NewCheck("an asynchronous producer spreads keys, every partition is read", d.asynchronous),
		godriver.NewCheck("an offset out of range is refused", d.outOfRange),
		godriver.NewCheck("paused and resumed, reading committed records", d.pauses),
		godriver.NewCheck("the time of appending", d.appendTime),
		godriver.NewCheck("what is wrong is refused by name", d.refusals),
	}
	if !d.old() {
		checks = append(checks,
			godriver.NewCheck("cluster, log directories, offsets", d.describes),
			godriver.NewCheck("trying out changes changes nothing", d.onlyValidates),
			godriver.NewCheck("a broker's own settings", d.brokerConfigs))
		checks = append(checks, d.eachVersion()...)
	}
	return godriver.Answer{"checks": checks}, nil
}

// create makes a topic and waits until the shared client knows it.
func (d *driver) create(topic string, partitions int32, configs map[string]*string) error {
	detail := &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: configs}
	return errors.Join(d.admin.CreateTopic(topic, detail, false), d.client.RefreshMetadata(topic))
}

// write sends numbered values to partition 0.
func (d *driver) write(topic string, count int) error {
	producer, err := sarama.NewSyncProducer([]string{d.address}, d.config())
	if err != nil {
		return err
	}
	defer producer.Close()
	var messages []*sarama.ProducerMessage
	for i := range count {
		messages = append(messages, &sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprint(i))})
	}
	return producer.SendMessages(messages)
}

func (d *driver) asynchronous() error {
	const topic, partitions, keys, rounds = "async", 8, 50, 60
	if err := d.create(topic, partitions, nil); err != nil {
		return err
	}
	config := d.config()
	config.Producer.Partitioner = sarama.NewHashPartitioner
	config.Producer.Compression = sarama.CompressionSnappy
	config.Producer.Flush.Messages = 100
	config.Producer.Flush.Frequency = 5 * time.Millisecond
	producer, err := sarama.NewAsyncProducer([]string{d.address}, config)
	if err != nil {
		return err
	}
	go func() {
		for round := range rounds {
			for key := range keys {
				key := sarama.StringEncoder(fmt.Sprint("key-", key))
				producer.Input() <- &sarama.ProducerMessage{Topic: topic, Key: key, Value: sarama.StringEncoder(fmt.Sprint(round))}
			}
		}
		producer.AsyncClose()
	}()
	go func() {
		for failure := range producer.Errors() {
			err = failure
		}
	}()
	for range producer.Successes() {
	}
	if err != nil {
		return err
	}
	return d.readKeys(topic, partitions, keys*rounds)
}

// readKeys reads all partitions at once; the values of each key count up from 0.
func (d *driver) readKeys(topic string, partitions int32, count int) error {
	messages := make(chan *sarama.ConsumerMessage)
	for partition := range partitions {
		reader, err := d.consumer.ConsumePartition(topic, partition, sarama.OffsetOldest)
		if err != nil {
			return err
		}
		defer reader.AsyncClose()
		go func() {
			for message := range reader.Messages() {
				messages <- message
			}
		}()
	}
	next := map[string]int{}
	late := time.After(10 * time.Second)
	for got := range count {
		select {
		case message := <-messages:
			key := string(message.Key)
			if want := fmt.Sprint(next[key]); string(message.Value) != want {
				return fmt.Errorf("%s: %s instead of %s", key, message.Value, want)
			}
			next[key]++
		case <-late:
			return fmt.Errorf("%d of %d records came", got, count)
		}
	}
	return nil
}

func (d *driver) outOfRange() error {
	if err := errors.Join(d.create("range", 1, nil), d.write("range", 3)); err != nil {
		return err
	}
	_, err := d.consumer.ConsumePartition("range", 0, 99)
	if !errors.Is(err, sarama.ErrOffsetOutOfRange) {
		return fmt.Errorf("instead: %w", err)
	}
	return nil
}

func (d *driver) pauses() error {
	if err := errors.Join(d.create("pauses", 1, nil), d.write("pauses", 500)); err != nil {
		return err
	}
	config := d.config()
	config.Consumer.IsolationLevel = sarama.ReadCommitted
	config.Consumer.Fetch.Default = 1000
	config.ChannelBufferSize = 1
	consumer, err := sarama.NewConsumer([]string{d.address}, config)
	if err != nil {
		return err
	}
	defer consumer.Close()
	reader, err := consumer.ConsumePartition("pauses", 0, sarama.OffsetOldest)
	if err != nil {
		return err
	}
	defer reader.AsyncClose()
	late := time.After(10 * time.Second)
	for want := range int64(500) {
		if want == 200 {
			reader.Pause()
			time.AfterFunc(300*time.Millisecond, reader.Resume)
		}
		select {
		case message := <-reader.Messages():
			if message.Offset != want {
				return fmt.Errorf("offset %d instead of %d", message.Offset, want)
			}
		case failure := <-reader.Errors():
			return failure
		case <-late:
			return fmt.Errorf("%d of 500 records came", want)
		}
	}
	return nil
}

func (d *driver) appendTime() error {
	appendTime := "LogAppendTime"
	began := time.Now().Add(-time.Second)
	if err := d.create("append-time", 1, map[string]*string{"message.timestamp.type": &appendTime}); err != nil {
		return err
	}
	producer, err := d.producer(&godriver.Request{Acks: "all", Codec: "gzip"})
	if err != nil {
		return err
	}
	message := &sarama.ProducerMessage{Topic: "append-time", Value: sarama.StringEncoder("v"), Timestamp: time.UnixMilli(1_000_000)}
	if _, _, err := producer.SendMessage(message); err != nil {
		return err
	}
	reader, err := d.consumer.ConsumePartition("append-time", 0, sarama.OffsetOldest)
	if err != nil {
		return err
	}
	defer reader.AsyncClose()
	select {
	case got := <-reader.Messages():
		if got.Timestamp.Before(began) || got.Timestamp.After(time.Now().Add(time.Second)) {
			return fmt.Errorf("the record says %v", got.Timestamp)
		}
		if !message.Timestamp.Equal(got.Timestamp) {
			return fmt.Errorf("the answer said %v, the record says %v", message.Timestamp, got.Timestamp)
		}
	case <-time.After(5 * time.Second):
		return errors.New("no record came")
	}
	return nil
}

func (d *driver) refusals() error {
	if err := errors.Join(d.create("strict", 2, nil), d.write("strict", 3)); err != nil {
		return err
	}
	nonsense := "1"
	for what, try := range map[string]struct {
		err  error
		want sarama.KError
	}{
		"fewer partitions":       {d.admin.CreatePartitions("strict", 1, nil, false), sarama.ErrInvalidPartitions},
		"an existing topic":      {d.create("strict", 1, nil), sarama.ErrTopicAlreadyExists},
		"an unknown setting":     {d.create("nonsense", 1, map[string]*string{"no.such.setting": &nonsense}), sarama.ErrInvalidConfig},
		"a bad name":             {d.create("bad/name", 1, nil), sarama.ErrInvalidTopic},
		"deleting what is not":   {d.admin.DeleteTopic("no-such-topic"), sarama.ErrUnknownTopicOrPartition},
		"records beyond the end": {d.admin.DeleteRecords("strict", map[int32]int64{0: 99}), sarama.ErrOffsetOutOfRange},
	} {
		if !errors.Is(try.err, try.want) {
			return fmt.Errorf("%s: %w", what, try.err)
		}
	}
	return nil
}

func (d *driver) describes() error {
	if err := errors.Join(d.create("described", 2, nil), d.write("described", 4)); err != nil {
		return err
	}
	brokers, controller, err := d.admin.DescribeCluster()
	if err != nil || len(brokers) != 1 || brokers[0].ID() != controller {
		return fmt.Errorf("cluster: %v %d %w", brokers, controller, err)
	}
	dirs, err := d.admin.DescribeLogDirs([]int32{controller})
	if err != nil || len(dirs[controller]) != 1 || dirs[controller][0].ErrorCode != sarama.ErrNoError {
		return fmt.Errorf("log directories: %+v %w", dirs, err)
	}
	size := int64(0)
	for _, topic := range dirs[controller][0].Topics {
		for _, partition := range topic.Partitions {
			if topic.Topic == "described" {
				size += partition.Size
			}
		}
	}
	if size <= 0 {
		return fmt.Errorf("the topic takes %d bytes", size)
	}
	wanted := map[string]map[int32]int64{"described": {0: sarama.OffsetNewest, 1: sarama.OffsetNewest}}
	offsets, err := d.admin.ListOffsets(wanted, nil)
	if err != nil || offsets["described"][0].Offset != 4 || offsets["described"][1].Offset != 0 {
		return fmt.Errorf("offsets: %+v %w", offsets, err)
	}
	return nil
}

func (d *driver) onlyValidates() error {
	if err := d.create("tried", 1, nil); err != nil {
		return err
	}
	soon := "5"
	change := map[string]sarama.IncrementalAlterConfigsEntry{"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &soon}}
	err := errors.Join(
		d.admin.CreateTopic("never", &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, true),
		d.admin.CreatePartitions("tried", 5, nil, true),
		d.admin.IncrementalAlterConfig(sarama.TopicResource, "tried", change, true),
		d.admin.AlterConfig(sarama.TopicResource, "tried", map[string]*string{"retention.ms": &soon}, true))
	if err != nil {
		return err
	}
	topics, err := d.admin.ListTopics()
	if err != nil {
		return err
	}
	if _, made := topics["never"]; made || topics["tried"].NumPartitions != 1 || topics["tried"].ConfigEntries["retention.ms"] != nil {
		return fmt.Errorf("something changed: %+v", topics)
	}
	return nil
}

func (d *driver) brokerConfigs() error {
	_, controller, err := d.admin.DescribeCluster()
	if err != nil {
		return err
	}
	described, err := d.admin.DescribeConfig(sarama.ConfigResource{Type: sarama.BrokerResource, Name: fmt.Sprint(controller)})
	if err != nil {
		return err
	}
	for _, config := range described {
		if config.Name == "num.partitions" && config.Value == "1" && !config.ReadOnly {
			return nil
		}
	}
	return fmt.Errorf("no num.partitions that can be changed among %d settings", len(described))
}
