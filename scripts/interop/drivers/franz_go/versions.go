// Every version of every API that both sides know, one after the other: franz-go has codecs of its own for all of them.
package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"ringmill/godriver"
)

// probe is one client that sends one API at one version.
type probe struct {
	client  *kgo.Client
	admin   *kadm.Client
	version int16
	// A name that no other probe uses.
	name string
}

// A topic with three records of one idempotent producer, for those that only ask.
const versionsTopic = "versions"

// The oldest batches that the broker takes are those of Produce 3.
const produceMin = 3

var probes = map[kmsg.Key]func(*probe) error{
	kmsg.Produce: probeProduce, kmsg.Fetch: probeFetch, kmsg.ListOffsets: probeListOffsets, kmsg.Metadata: probeMetadata,
	kmsg.CreateTopics: probeCreateTopics, kmsg.DeleteTopics: probeDeleteTopics, kmsg.DeleteRecords: probeDeleteRecords,
	kmsg.InitProducerID: probeProduce, kmsg.OffsetForLeaderEpoch: probeLeaderEpoch, kmsg.DescribeConfigs: probeDescribeConfigs,
	kmsg.AlterConfigs: probeAlterConfigs, kmsg.IncrementalAlterConfigs: probeIncrementalAlterConfigs,
	kmsg.DescribeLogDirs: probeLogDirs, kmsg.CreatePartitions: probeCreatePartitions, kmsg.DescribeCluster: probeCluster,
	kmsg.DescribeProducers: probeProducers, kmsg.ListConfigResources: probeConfigResources,
	kmsg.DescribeTopicPartitions: probeTopicPartitions,
}

// old tells whether it plays a client of Kafka 2.1.
func (d *driver) old() bool { return d.version != "" }

func (d *driver) eachVersion() ([]godriver.Check, error) {
	if d.old() {
		return nil, nil
	}
	if err := d.topic(versionsTopic, 1, 3); err != nil {
		return nil, err
	}
	brokers, err := d.admin.ApiVersions(deadline())
	if err != nil {
		return nil, err
	}
	offered := brokers.Sorted()[0]
	if offered.Err != nil {
		return nil, offered.Err
	}
	var checks []godriver.Check
	for key, run := range probes {
		low, high, known := offered.KeyVersions(key.Int16())
		if !known {
			checks = append(checks, godriver.Check{Name: key.Name(), Detail: "is not offered"})
			continue
		}
		if key == kmsg.Produce {
			low = produceMin
		}
		high = min(high, kmsg.RequestForKey(key.Int16()).MaxVersion())
		name := fmt.Sprintf("%s %d to %d", key.Name(), low, high)
		checks = append(checks, godriver.NewCheck(name, func() error { return d.versionsOf(key, low, high, run) }))
	}
	return checks, nil
}

func (d *driver) versionsOf(key kmsg.Key, low, high int16, run func(*probe) error) error {
	var failures []string
	for version := low; version <= high; version++ {
		versions := kversion.Stable()
		versions.SetMaxKeyVersion(key.Int16(), version)
		client := d.client(kgo.MaxVersions(versions), kgo.FetchMaxWait(50*time.Millisecond), kgo.RetryTimeout(5*time.Second))
		p := &probe{client, kadm.NewClient(client), version, fmt.Sprintf("probe-%d-%d", key.Int16(), version)}
		if err := run(p); err != nil {
			failures = append(failures, fmt.Sprintf("%d: %v", version, err))
		}
		client.Close()
	}
	if failures != nil {
		return errors.New(strings.Join(failures, "; "))
	}
	return nil
}

func short() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	time.AfterFunc(5*time.Second, cancel)
	return ctx
}

func (p *probe) create(partitions int32) error {
	_, err := p.admin.CreateTopic(short(), partitions, -1, nil, p.name)
	return err
}

func (p *probe) write(count int) error {
	for i := range count {
		record := &kgo.Record{Topic: p.name, Key: []byte("key"), Value: fmt.Append(nil, i), Headers: []kgo.RecordHeader{{Key: "h"}}}
		if err := p.client.ProduceSync(short(), record).FirstErr(); err != nil {
			return err
		}
		if record.Offset != int64(i) {
			return fmt.Errorf("offset %d instead of %d", record.Offset, i)
		}
	}
	return nil
}

func probeProduce(p *probe) error {
	if err := p.create(1); err != nil {
		return err
	}
	return p.write(2)
}

func probeFetch(p *probe) error {
	p.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{versionsTopic: {0: kgo.NewOffset().AtStart()}})
	return read(p.client, 3, map[string]int{})
}

func probeListOffsets(p *probe) error {
	for want, list := range map[int64]func() (kadm.ListedOffsets, error){
		0: func() (kadm.ListedOffsets, error) { return p.admin.ListStartOffsets(short(), versionsTopic) },
		3: func() (kadm.ListedOffsets, error) { return p.admin.ListEndOffsets(short(), versionsTopic) },
	} {
		offsets, err := list()
		if found, _ := offsets.Lookup(versionsTopic, 0); err != nil || found.Err != nil || found.Offset != want {
			return fmt.Errorf("%+v instead of %d: %w", found, want, err)
		}
	}
	offsets, err := p.admin.ListOffsetsAfterMilli(short(), 1, versionsTopic)
	if found, _ := offsets.Lookup(versionsTopic, 0); err != nil || found.Offset != 0 || found.Timestamp <= 0 {
		return fmt.Errorf("by time: %+v: %w", found, err)
	}
	return nil
}

func probeMetadata(p *probe) error {
	one, err := p.admin.Metadata(short(), versionsTopic, p.name)
	if err != nil {
		return err
	}
	topic := one.Topics[versionsTopic]
	if len(topic.Partitions) != 1 || topic.Partitions[0].Leader != one.Brokers[0].NodeID {
		return fmt.Errorf("%+v", one)
	}
	// Older requests cannot say that the topic is not to be made.
	if p.version >= 4 && !errors.Is(one.Topics[p.name].Err, kerr.UnknownTopicOrPartition) {
		return fmt.Errorf("an unknown topic: %+v", one.Topics[p.name])
	}
	if p.version >= 10 && topic.ID == (kadm.TopicID{}) {
		return errors.New("no topic id")
	}
	if p.version >= 2 && one.Cluster == "" {
		return errors.New("no cluster id")
	}
	all, err := p.admin.Metadata(short())
	if err != nil || !all.Topics.Has(versionsTopic) || len(all.Topics) < 2 {
		return fmt.Errorf("all topics: %v: %w", all.Topics.Names(), err)
	}
	return nil
}

func probeCreateTopics(p *probe) error {
	made, err := p.admin.CreateTopic(short(), 2, -1, map[string]*string{"retention.ms": kadm.StringPtr("7200000")}, p.name)
	if err != nil {
		return err
	}
	retention := made.Configs["retention.ms"]
	if p.version >= 5 && (made.NumPartitions != 2 || made.ReplicationFactor != 1 || retention.MaybeValue() != "7200000") {
		return fmt.Errorf("%+v", made)
	}
	if p.version >= 7 && made.ID == (kadm.TopicID{}) {
		return errors.New("no topic id")
	}
	if _, err := p.admin.CreateTopic(short(), 2, -1, nil, p.name); !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("created twice: %w", err)
	}
	return nil
}

func probeDeleteTopics(p *probe) error {
	if err := p.create(1); err != nil {
		return err
	}
	if _, err := p.admin.DeleteTopic(short(), p.name); err != nil {
		return err
	}
	if p.version < 6 {
		return nil
	}
	made, err := p.admin.CreateTopic(short(), 1, -1, nil, p.name)
	if err != nil {
		return err
	}
	byID := kmsg.NewPtrDeleteTopicsRequest()
	wanted := kmsg.NewDeleteTopicsRequestTopic()
	wanted.TopicID = made.ID
	byID.Topics = append(byID.Topics, wanted)
	answer, err := byID.RequestWith(short(), p.client)
	if err != nil {
		return err
	}
	if topic := answer.Topics[0]; topic.ErrorCode != 0 || topic.TopicID != made.ID || topic.Topic == nil || *topic.Topic != p.name {
		return fmt.Errorf("by id: %+v", topic)
	}
	return nil
}

func probeDeleteRecords(p *probe) error {
	if err := errors.Join(p.create(1), p.write(5)); err != nil {
		return err
	}
	offsets := kadm.Offsets{}
	offsets.AddOffset(p.name, 0, 2, -1)
	answers, err := p.admin.DeleteRecords(short(), offsets)
	if answer, _ := answers.Lookup(p.name, 0); err != nil || answer.Err != nil || answer.LowWatermark != 2 {
		return fmt.Errorf("%+v: %w", answer, err)
	}
	offsets = kadm.Offsets{}
	offsets.AddOffset(p.name, 0, -1, -1)
	answers, err = p.admin.DeleteRecords(short(), offsets)
	if answer, _ := answers.Lookup(p.name, 0); err != nil || answer.Err != nil || answer.LowWatermark != 5 {
		return fmt.Errorf("all of them: %+v: %w", answer, err)
	}
	return nil
}

func probeLeaderEpoch(p *probe) error {
	one, err := p.admin.Metadata(short(), versionsTopic)
	if err != nil {
		return err
	}
	request := kadm.OffsetForLeaderEpochRequest{}
	request.Add(versionsTopic, 0, one.Topics[versionsTopic].Partitions[0].LeaderEpoch)
	answers, err := p.admin.OffsetForLeaderEpoch(short(), request)
	if answer := answers[versionsTopic][0]; err != nil || answer.Err != nil || answer.EndOffset != 3 {
		return fmt.Errorf("%+v: %w", answer, err)
	}
	return nil
}

func (p *probe) setting(name string) (kadm.Config, error) {
	described, err := p.admin.DescribeTopicConfigs(short(), p.name)
	if err != nil {
		return kadm.Config{}, err
	}
	for _, config := range described[0].Configs {
		if config.Key == name {
			return config, described[0].Err
		}
	}
	return kadm.Config{}, fmt.Errorf("no %s among %d settings: %w", name, len(described[0].Configs), described[0].Err)
}

func probeDescribeConfigs(p *probe) error {
	if _, err := p.admin.CreateTopic(short(), 1, -1, map[string]*string{"retention.ms": kadm.StringPtr("7200000")}, p.name); err != nil {
		return err
	}
	set, err := p.setting("retention.ms")
	if err != nil || set.MaybeValue() != "7200000" || set.Source != kmsg.ConfigSourceDynamicTopicConfig || set.Sensitive {
		return fmt.Errorf("%+v: %w", set, err)
	}
	if len(set.Synonyms) == 0 {
		return fmt.Errorf("no synonyms: %+v", set)
	}
	unset, err := p.setting("cleanup.policy")
	if err != nil || unset.MaybeValue() != "delete" || unset.Source != kmsg.ConfigSourceDefaultConfig {
		return fmt.Errorf("%+v: %w", unset, err)
	}
	return nil
}

func (p *probe) altered(answers kadm.AlterConfigsResponses, err error) error {
	if err != nil {
		return err
	}
	if err := named(answers[0].Err, answers[0].ErrMessage); err != nil {
		return err
	}
	set, err := p.setting("retention.ms")
	if set.MaybeValue() != "3600000" {
		return fmt.Errorf("%+v: %w", set, err)
	}
	return err
}

func probeAlterConfigs(p *probe) error {
	if err := p.create(1); err != nil {
		return err
	}
	state := []kadm.AlterConfig{{Name: "retention.ms", Value: kadm.StringPtr("3600000")}}
	return p.altered(p.admin.AlterTopicConfigsState(short(), state, p.name))
}

func probeIncrementalAlterConfigs(p *probe) error {
	if err := p.create(1); err != nil {
		return err
	}
	change := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("3600000")}}
	return p.altered(p.admin.AlterTopicConfigs(short(), change, p.name))
}

func probeLogDirs(p *probe) error {
	all, err := p.admin.DescribeAllLogDirs(short(), nil)
	if err != nil {
		return err
	}
	for _, dirs := range all {
		for _, dir := range dirs {
			if dir.Err != nil || dir.Topics[versionsTopic][0].Size <= 0 {
				return fmt.Errorf("%+v", dir)
			}
			if p.version >= 4 && (dir.TotalBytes <= 0 || dir.UsableBytes <= 0) {
				return fmt.Errorf("volume of %d bytes, %d usable", dir.TotalBytes, dir.UsableBytes)
			}
		}
	}
	if len(all) != 1 {
		return fmt.Errorf("%d brokers", len(all))
	}
	return nil
}

func probeCreatePartitions(p *probe) error {
	if err := p.create(1); err != nil {
		return err
	}
	answers, err := p.admin.UpdatePartitions(short(), 3, p.name)
	if err = errors.Join(err, answers.Error()); err != nil {
		return err
	}
	topics, err := p.admin.ListTopics(short(), p.name)
	if len(topics[p.name].Partitions) != 3 {
		return fmt.Errorf("%d partitions: %w", len(topics[p.name].Partitions), err)
	}
	return nil
}

func probeCluster(p *probe) error {
	answer, err := kmsg.NewPtrDescribeClusterRequest().RequestWith(short(), p.client)
	if err != nil {
		return err
	}
	if answer.ErrorCode != 0 || answer.ClusterID == "" || len(answer.Brokers) != 1 || answer.Brokers[0].NodeID != answer.ControllerID {
		return fmt.Errorf("%+v", answer)
	}
	return nil
}

func probeProducers(p *probe) error {
	var topics kadm.TopicsSet
	topics.Add(versionsTopic, 0)
	described, err := p.admin.DescribeProducers(short(), topics)
	if err != nil {
		return err
	}
	partition := described[versionsTopic].Partitions[0]
	if partition.Err != nil || len(partition.ActiveProducers) != 1 {
		return fmt.Errorf("%+v", partition)
	}
	producer := partition.ActiveProducers.Sorted()[0]
	if producer.LastSequence != 2 || producer.LastTimestamp <= 0 || producer.CurrentTxnStartOffset != -1 {
		return fmt.Errorf("%+v", producer)
	}
	return nil
}

func probeConfigResources(p *probe) error {
	request := kmsg.NewPtrListConfigResourcesRequest()
	if p.version >= 1 {
		request.ResourceTypes = []int8{int8(kmsg.ConfigResourceTypeTopic)}
	}
	answer, err := request.RequestWith(short(), p.client)
	if err != nil {
		return err
	}
	if answer.ErrorCode != 0 || p.version >= 1 && len(answer.ConfigResources) == 0 {
		return fmt.Errorf("%+v", answer)
	}
	return nil
}

func probeTopicPartitions(p *probe) error {
	request := kmsg.NewPtrDescribeTopicPartitionsRequest()
	wanted := kmsg.NewDescribeTopicPartitionsRequestTopic()
	wanted.Topic = versionsTopic
	request.Topics = append(request.Topics, wanted)
	answer, err := request.RequestWith(short(), p.client)
	if err != nil {
		return err
	}
	topic := answer.Topics[0]
	if topic.ErrorCode != 0 || len(topic.Partitions) != 1 || topic.Partitions[0].LeaderID != topic.Partitions[0].ISR[0] {
		return fmt.Errorf("%+v", topic)
	}
	return nil
}
