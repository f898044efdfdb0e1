// What users of franz-go do beyond the table of scenarios. Each check makes its own topics; the first error is its detail.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"ringmill/godriver"
)

func (d *driver) extras(*godriver.Request) (godriver.Answer, error) {
	checks := []godriver.Check{
		godriver.NewCheck("a pattern of topics, and one made later", d.readsPattern),
		godriver.NewCheck("cancelled records of an idempotent producer leave no gap", d.cancelsRecords),
		godriver.NewCheck("200 partitions written and read at once", d.manyPartitions),
		godriver.NewCheck("partitions added to, paused in and taken out of a fetch session", d.changesSession),
		godriver.NewCheck("an offset out of range resets to the start", d.resetsOffset),
		godriver.NewCheck("one batch a fetch", d.readsBatchByBatch),
		godriver.NewCheck("a topic deleted while it is read, and made again", d.recreatesTopic),
	}
	if apiChecks, err := d.eachVersion(); err != nil {
		return nil, err
	} else {
		checks = append(checks, apiChecks...)
	}
	return godriver.Answer{"checks": append(checks, d.adminChecks()...)}, nil
}

// topic makes a topic with records 0..count-1 in each partition.
func (d *driver) topic(name string, partitions int32, count int) error {
	if _, err := d.admin.CreateTopic(deadline(), partitions, -1, nil, name); err != nil {
		return err
	}
	return d.write(name, partitions, 0, count)
}

// write adds records first..first+count-1 to each partition.
func (d *driver) write(name string, partitions int32, first, count int) error {
	producer := d.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer producer.Close()
	var records []*kgo.Record
	for i := range count {
		for partition := range partitions {
			records = append(records, &kgo.Record{Topic: name, Partition: partition, Value: fmt.Append(nil, first+i)})
		}
	}
	return producer.ProduceSync(deadline(), records...).FirstErr()
}

// read polls until so many records came; they must be numbered from 0 in each partition.
func read(client *kgo.Client, count int, next map[string]int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for got := 0; got < count; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("after %d of %d records: %w", got, count, err)
		}
		for _, record := range fetches.Records() {
			place := fmt.Sprintf("%s-%d", record.Topic, record.Partition)
			if want := fmt.Sprint(next[place]); string(record.Value) != want {
				return fmt.Errorf("%s at %d: %q instead of %s", place, record.Offset, record.Value, want)
			}
			next[place]++
			got++
		}
	}
	return nil
}

func (d *driver) readsPattern() error {
	if err := d.topic("pattern-a", 2, 5); err != nil {
		return err
	}
	client := d.client(kgo.ConsumeRegex(), kgo.ConsumeTopics("^pattern-.*"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.MetadataMaxAge(200*time.Millisecond), kgo.FetchMaxWait(200*time.Millisecond))
	defer client.Close()
	next := map[string]int{}
	if err := read(client, 10, next); err != nil {
		return err
	}
	if err := d.topic("pattern-b", 3, 4); err != nil {
		return err
	}
	return read(client, 12, next)
}

func (d *driver) cancelsRecords() error {
	if err := d.topic("cancelled", 1, 0); err != nil {
		return err
	}
	producer := d.client(kgo.DefaultProduceTopic("cancelled"), kgo.ProducerLinger(5*time.Millisecond))
	defer producer.Close()
	written := 0
	for i := range 200 {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		producer.Produce(ctx, &kgo.Record{Value: fmt.Append(nil, i)}, func(_ *kgo.Record, err error) { done <- err })
		if i%3 == 0 {
			time.Sleep(time.Duration(i%7) * time.Millisecond)
			cancel()
		}
		err := <-done
		cancel()
		switch {
		case err == nil:
			written++
		case i%3 != 0 || !errors.Is(err, context.Canceled):
			return fmt.Errorf("record %d: %w", i, err)
		}
	}
	ends, err := d.admin.ListEndOffsets(deadline(), "cancelled")
	if end, _ := ends.Lookup("cancelled", 0); err != nil || int(end.Offset) < written || written < 133 {
		return fmt.Errorf("%d acknowledged, the end is %d: %w", written, end.Offset, err)
	}
	return nil
}

func (d *driver) manyPartitions() error {
	if err := d.topic("many", 200, 20); err != nil {
		return err
	}
	client := d.client(kgo.ConsumeTopics("many"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer client.Close()
	return read(client, 4000, map[string]int{})
}

func (d *driver) changesSession() error {
	if err := d.topic("session", 6, 10); err != nil {
		return err
	}
	start := kgo.NewOffset().AtStart()
	client := d.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"session": {0: start, 1: start}}),
		kgo.FetchMaxWait(100*time.Millisecond))
	defer client.Close()
	next := map[string]int{}
	if err := read(client, 20, next); err != nil {
		return err
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{"session": {2: start, 3: start}})
	if err := read(client, 20, next); err != nil {
		return err
	}
	client.PauseFetchPartitions(map[string][]int32{"session": {0, 1, 2, 3}})
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{"session": {4: start}})
	if err := read(client, 10, next); err != nil {
		return err
	}
	client.RemoveConsumePartitions(map[string][]int32{"session": {0, 4}})
	client.ResumeFetchPartitions(map[string][]int32{"session": {1, 2, 3}})
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{"session": {5: start}})
	if err := read(client, 10, next); err != nil {
		return err
	}
	// What was idle in the session must still be watched.
	producer := d.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer producer.Close()
	for partition := range int32(4) {
		record := &kgo.Record{Topic: "session", Partition: partition, Value: []byte("10")}
		if err := producer.ProduceSync(deadline(), record).FirstErr(); err != nil {
			return err
		}
	}
	return read(client, 3, next)
}

func (d *driver) resetsOffset() error {
	if err := d.topic("reset", 1, 10); err != nil {
		return err
	}
	client := d.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"reset": {0: kgo.NewOffset().At(1_000_000)}}),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer client.Close()
	return read(client, 10, map[string]int{})
}

func (d *driver) readsBatchByBatch() error {
	if err := d.topic("batches", 3, 0); err != nil {
		return err
	}
	producer := d.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.Lz4Compression()))
	defer producer.Close()
	for i := range 30 {
		for partition := range int32(3) {
			record := &kgo.Record{Topic: "batches", Partition: partition, Value: fmt.Append(nil, i)}
			if err := producer.ProduceSync(deadline(), record).FirstErr(); err != nil {
				return err
			}
		}
	}
	client := d.client(kgo.ConsumeTopics("batches"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxBytes(1), kgo.FetchMaxPartitionBytes(1), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	defer client.Close()
	return read(client, 90, map[string]int{})
}

func (d *driver) recreatesTopic() error {
	if err := d.topic("again", 1, 10); err != nil {
		return err
	}
	client := d.client(kgo.ConsumeTopics("again"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(100*time.Millisecond), kgo.MetadataMaxAge(100*time.Millisecond))
	defer client.Close()
	if err := read(client, 10, map[string]int{}); err != nil {
		return err
	}
	if _, err := d.admin.DeleteTopic(deadline(), "again"); err != nil {
		return err
	}
	if err := d.topic("again", 1, 5); err != nil {
		return err
	}
	// By name, as before Fetch 13, the reader is told of the loss and goes on with the new topic, from where that ended when it asked.
	// By id, the old one is gone for good.
	err := read(client, 5, map[string]int{})
	first := 0
	var loss *kgo.ErrDataLoss
	switch {
	case errors.As(err, &loss):
		first = int(loss.ResetTo)
	case errors.Is(err, kerr.UnknownTopicID):
		client.PurgeTopicsFromConsuming("again")
		client.AddConsumeTopics("again")
	default:
		return fmt.Errorf("an unexpected answer: %w", err)
	}
	if err := d.write("again", 1, 5, 5); err != nil {
		return err
	}
	return read(client, 10-first, map[string]int{"again-0": first})
}

// adminChecks are calls of kadm that only ask.
func (d *driver) adminChecks() []godriver.Check {
	return []godriver.Check{
		godriver.NewCheck("offsets of every kind", d.listsOffsets),
		godriver.NewCheck("trying out changes changes nothing", d.onlyValidates),
		godriver.NewCheck("a broker's own settings", d.brokerConfigs),
		godriver.NewCheck("what is wrong is refused by name", d.refusals),
	}
}

func (d *driver) listsOffsets() error {
	if err := d.topic("listed", 2, 7); err != nil {
		return err
	}
	ask := map[string]func(context.Context, ...string) (kadm.ListedOffsets, error){
		"start": d.admin.ListStartOffsets, "end": d.admin.ListEndOffsets, "committed": d.admin.ListCommittedOffsets,
	}
	if !d.old() {
		ask["max timestamp"] = d.admin.ListMaxTimestampOffsets
		ask["local start"] = d.admin.ListLocalLogStartOffsets
	}
	// All records of a partition bear nearly the same time: the one with the largest is not known.
	want := map[string]int64{"start": 0, "end": 7, "committed": 7, "max timestamp": -1, "local start": 0}
	for kind, list := range ask {
		offsets, err := list(deadline(), "listed")
		if err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		found, _ := offsets.Lookup("listed", 1)
		if found.Err != nil || want[kind] >= 0 && found.Offset != want[kind] || found.Offset < 0 {
			return fmt.Errorf("%s: %+v", kind, found)
		}
	}
	return nil
}

func (d *driver) onlyValidates() error {
	if err := d.topic("tried", 1, 0); err != nil {
		return err
	}
	created, err := d.admin.ValidateCreateTopics(deadline(), 1, -1, nil, "never")
	if err = errors.Join(err, created.Error()); err != nil {
		return fmt.Errorf("topic: %w", err)
	}
	added, err := d.admin.ValidateUpdatePartitions(deadline(), 5, "tried")
	if err = errors.Join(err, added.Error()); err != nil {
		return fmt.Errorf("partitions: %w", err)
	}
	if !d.old() {
		change := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("5")}}
		altered, err := d.admin.ValidateAlterTopicConfigs(deadline(), change, "tried")
		if err != nil || altered[0].Err != nil {
			return fmt.Errorf("settings: %v %w", altered, err)
		}
	}
	topics, err := d.admin.ListTopics(deadline())
	if topics.Has("never") || len(topics["tried"].Partitions) != 1 {
		return fmt.Errorf("something changed: %v", topics)
	}
	configs, err := d.configs("tried")
	for _, config := range configs {
		if config.Key == "retention.ms" && config.MaybeValue() == "5" {
			return errors.New("the setting changed")
		}
	}
	return err
}

func (d *driver) brokerConfigs() error {
	brokers, err := d.admin.ListBrokers(deadline())
	if err != nil || len(brokers) != 1 {
		return fmt.Errorf("brokers: %v %w", brokers, err)
	}
	partitions := func() (string, error) {
		described, err := d.admin.DescribeBrokerConfigs(deadline(), brokers[0].NodeID)
		if err != nil {
			return "", err
		}
		for _, config := range described[0].Configs {
			if config.Key == "num.partitions" {
				return config.MaybeValue(), nil
			}
		}
		return "", errors.New("no num.partitions among the broker's settings")
	}
	before, err := partitions()
	if err != nil || d.old() {
		return err
	}
	change := kadm.AlterConfig{Op: kadm.SetConfig, Name: "num.partitions", Value: kadm.StringPtr("3")}
	if _, err := d.admin.AlterBrokerConfigs(deadline(), []kadm.AlterConfig{change}); err != nil {
		return err
	}
	if now, err := partitions(); err != nil || now != "3" {
		return fmt.Errorf("num.partitions is %q: %w", now, err)
	}
	if err := d.topic("dynamic", -1, 0); err != nil {
		return err
	}
	topics, err := d.admin.ListTopics(deadline(), "dynamic")
	if len(topics["dynamic"].Partitions) != 3 {
		return fmt.Errorf("a topic with the default number of partitions has %d: %w", len(topics["dynamic"].Partitions), err)
	}
	if _, err := d.admin.AlterBrokerConfigs(deadline(), []kadm.AlterConfig{{Op: kadm.DeleteConfig, Name: "num.partitions"}}); err != nil {
		return err
	}
	if now, err := partitions(); err != nil || now != before {
		return fmt.Errorf("num.partitions is %q after taking the change back, it was %q: %w", now, before, err)
	}
	return nil
}

func (d *driver) refusals() error {
	if err := d.topic("strict", 2, 3); err != nil {
		return err
	}
	fewer, err := d.admin.UpdatePartitions(deadline(), 1, "strict")
	if err != nil || !errors.Is(fewer["strict"].Err, kerr.InvalidPartitions) {
		return fmt.Errorf("fewer partitions: %v %w", fewer["strict"], err)
	}
	beyond := kadm.Offsets{}
	beyond.AddOffset("strict", 0, 99, -1)
	cut, err := d.admin.DeleteRecords(deadline(), beyond)
	if answer, _ := cut.Lookup("strict", 0); err != nil || !errors.Is(answer.Err, kerr.OffsetOutOfRange) {
		return fmt.Errorf("records beyond the end: %v %w", answer, err)
	}
	unknown, err := d.admin.DescribeTopicConfigs(deadline(), "no-such-topic")
	if err != nil || !errors.Is(unknown[0].Err, kerr.UnknownTopicOrPartition) {
		return fmt.Errorf("settings of an unknown topic: %v %w", unknown, err)
	}
	if _, err := d.admin.DeleteTopic(deadline(), "no-such-topic"); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		return fmt.Errorf("deleting an unknown topic: %w", err)
	}
	_, err = d.admin.CreateTopic(deadline(), 1, -1, nil, "bad/name")
	if !errors.Is(err, kerr.InvalidTopicException) {
		return fmt.Errorf("a bad name: %w", err)
	}
	return nil
}
