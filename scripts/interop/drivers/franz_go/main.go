// The driver of franz-go: what scripts/interop asks for, carried out by kgo (produce, consume) and kadm (everything else); and with
// `member` for its first argument, a group member.
//
// FRANZ_GO_VERSION=2.1.0 makes it speak no newer request than Kafka 2.1 knew, as the OpenTelemetry Collector does by default.
package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"sort"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"

	"ringmill/godriver"
)

// Longer than the broker takes to restart in the middle of a run.
const patience = 45 * time.Second

// Kafka's default of max.message.bytes; franz-go's own default is a few bytes too small for a value of 1 MB.
const batchBytesMax = 1_048_588

type driver struct {
	address   string
	version   string // of Kafka, that it speaks at most; empty for the newest
	admin     *kadm.Client
	producers map[string]*kgo.Client
	tail      *kgo.Client
}

func main() {
	if os.Args[1] == "member" {
		joinGroup(os.Args[2], os.Args[3])
		return
	}
	d := &driver{address: os.Args[1], version: os.Getenv("FRANZ_GO_VERSION"), producers: map[string]*kgo.Client{}}
	d.admin = kadm.NewClient(d.client())
	godriver.Serve(map[string]godriver.Operation{
		"hello":           d.hello,
		"create_topic":    d.createTopic,
		"alter_topic":     d.alterTopic,
		"describe_topic":  d.describeTopic,
		"add_partitions":  d.addPartitions,
		"delete_records":  d.deleteRecords,
		"delete_topic":    d.deleteTopic,
		"list_topics":     d.listTopics,
		"produce":         d.produce,
		"consume":         d.consume,
		"tail_start":      d.tailStart,
		"tail_read":       d.tailRead,
		"watermarks":      d.watermarks,
		"offset_for_time": d.offsetForTime,
		"extras":          d.extras,
		"bye":             d.bye,
	})
}

// client makes a client with what all of them have in common.
func (d *driver) client(options ...kgo.Opt) *kgo.Client {
	options = append(options, kgo.SeedBrokers(d.address), kgo.MetadataMinAge(50*time.Millisecond), kgo.RetryTimeout(patience))
	if d.old() {
		options = append(options, kgo.MaxVersions(kversion.V2_1_0()))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return client
}

func deadline() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	time.AfterFunc(patience, cancel)
	return ctx
}

func (d *driver) hello(*godriver.Request) (godriver.Answer, error) {
	name := "franz-go"
	can := []string{"idempotent", "headers", "null_value", "null_key", "timestamps", "read_timestamp", "by_timestamp", "tail", "create_topic",
		"delete_topic", "alter_topic", "describe_topic", "add_partitions", "delete_records", "list_topics", "extras", "group:range",
		"group:cooperative-sticky"}
	if d.old() {
		name += " at " + d.version
	} else {
		can = append(can, "group:static", "group:consumer")
	}
	return godriver.Answer{
		"client": name, "version": moduleVersion("github.com/twmb/franz-go"), "language": "Go",
		"codecs": []string{"none", "gzip", "snappy", "lz4", "zstd"}, "acks": []string{"0", "1", "all"},
		"can": can, "cannot": map[string]string{
			"stall": "a member of a cooperative group that has forgotten it joins anew with the partitions and positions that it had, and commits them",
		},
	}, nil
}

func moduleVersion(path string) string {
	build, _ := debug.ReadBuildInfo()
	for _, module := range build.Deps {
		if module.Path == path {
			return module.Version[1:]
		}
	}
	return "unknown"
}

func (d *driver) createTopic(r *godriver.Request) (godriver.Answer, error) {
	configs := map[string]*string{}
	for name, value := range r.Configs {
		configs[name] = kadm.StringPtr(value)
	}
	answer, err := d.admin.CreateTopic(deadline(), r.Partitions, -1, configs, r.Topic)
	return nil, named(err, answer.ErrMessage)
}

func (d *driver) alterTopic(r *godriver.Request) (godriver.Answer, error) {
	if d.old() {
		return nil, d.alterTopicWhole(r)
	}
	var changes []kadm.AlterConfig
	for name, value := range r.Configs {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: kadm.StringPtr(value)})
	}
	answers, err := d.admin.AlterTopicConfigs(deadline(), changes, r.Topic)
	if err != nil {
		return nil, err
	}
	_, err = answers.On(r.Topic, func(a *kadm.AlterConfigsResponse) error { return named(a.Err, a.ErrMessage) })
	return nil, err
}

// Before Kafka 2.3 a topic's settings could only be replaced as a whole, so what is set already is sent along.
func (d *driver) alterTopicWhole(r *godriver.Request) error {
	described, err := d.configs(r.Topic)
	if err != nil {
		return err
	}
	var state []kadm.AlterConfig
	for _, config := range described {
		if _, changes := r.Configs[config.Key]; !changes && config.Source.String() == "DYNAMIC_TOPIC_CONFIG" {
			state = append(state, kadm.AlterConfig{Name: config.Key, Value: config.Value})
		}
	}
	for name, value := range r.Configs {
		state = append(state, kadm.AlterConfig{Name: name, Value: kadm.StringPtr(value)})
	}
	answers, err := d.admin.AlterTopicConfigsState(deadline(), state, r.Topic)
	if err != nil {
		return err
	}
	_, err = answers.On(r.Topic, func(a *kadm.AlterConfigsResponse) error { return named(a.Err, a.ErrMessage) })
	return err
}

// named adds the broker's own words to an error, if there is one.
func named(err error, message string) error {
	if err == nil || message == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, message)
}

func (d *driver) configs(topic string) ([]kadm.Config, error) {
	described, err := d.admin.DescribeTopicConfigs(deadline(), topic)
	if err != nil {
		return nil, err
	}
	resource, err := described.On(topic, nil)
	if err != nil {
		return nil, err
	}
	return resource.Configs, resource.Err
}

func (d *driver) describeTopic(r *godriver.Request) (godriver.Answer, error) {
	topics, err := d.admin.ListTopics(deadline(), r.Topic)
	if err != nil {
		return nil, err
	}
	if err := topics[r.Topic].Err; err != nil {
		return nil, err
	}
	described, err := d.configs(r.Topic)
	if err != nil {
		return nil, err
	}
	configs := map[string]string{}
	for _, config := range described {
		configs[config.Key] = config.MaybeValue()
	}
	return godriver.Answer{"partitions": len(topics[r.Topic].Partitions), "configs": configs}, nil
}

func (d *driver) addPartitions(r *godriver.Request) (godriver.Answer, error) {
	answers, err := d.admin.UpdatePartitions(deadline(), r.Count, r.Topic)
	if err != nil {
		return nil, err
	}
	_, err = answers.On(r.Topic, func(a *kadm.CreatePartitionsResponse) error { return named(a.Err, a.ErrMessage) })
	// A producer learns of new partitions minutes later; one that is made now knows them.
	d.closeProducers()
	return nil, err
}

func (d *driver) deleteRecords(r *godriver.Request) (godriver.Answer, error) {
	offsets := kadm.Offsets{}
	offsets.AddOffset(r.Topic, r.Partition, r.Before, -1)
	answers, err := d.admin.DeleteRecords(deadline(), offsets)
	if err != nil {
		return nil, err
	}
	answer, err := answers.On(r.Topic, r.Partition, nil)
	if err == nil {
		err = answer.Err
	}
	return godriver.Answer{"low": answer.LowWatermark}, err
}

func (d *driver) deleteTopic(r *godriver.Request) (godriver.Answer, error) {
	answer, err := d.admin.DeleteTopic(deadline(), r.Topic)
	// franz-go holds on to a topic's id; a topic that comes again under the same name must be forgotten by whoever used it.
	for _, producer := range d.producers {
		producer.PurgeTopicsFromClient(r.Topic)
	}
	return nil, named(err, answer.ErrMessage)
}

func (d *driver) listTopics(*godriver.Request) (godriver.Answer, error) {
	topics, err := d.admin.ListTopics(deadline())
	if err != nil {
		return nil, err
	}
	names := topics.Names()
	sort.Strings(names)
	return godriver.Answer{"topics": names}, nil
}

func (d *driver) watermarks(r *godriver.Request) (godriver.Answer, error) {
	low, err := listed(d.admin.ListStartOffsets(deadline(), r.Topic))(r)
	if err != nil {
		return nil, err
	}
	high, err := listed(d.admin.ListEndOffsets(deadline(), r.Topic))(r)
	return godriver.Answer{"low": low.Offset, "high": high.Offset}, err
}

func (d *driver) offsetForTime(r *godriver.Request) (godriver.Answer, error) {
	found, err := listed(d.admin.ListOffsetsAfterMilli(deadline(), r.TimestampMs, r.Topic))(r)
	// Where the broker finds nothing, kadm asks for the end and leaves the timestamp at -1.
	if err != nil || found.Timestamp < 0 {
		return godriver.Answer{"offset": nil}, err
	}
	return godriver.Answer{"offset": found.Offset}, nil
}

// listed picks the request's partition out of an answer of ListOffsets.
func listed(offsets kadm.ListedOffsets, err error) func(*godriver.Request) (kadm.ListedOffset, error) {
	return func(r *godriver.Request) (kadm.ListedOffset, error) {
		if err != nil {
			return kadm.ListedOffset{}, err
		}
		offset, known := offsets.Lookup(r.Topic, r.Partition)
		if !known {
			return offset, fmt.Errorf("no answer for %s-%d", r.Topic, r.Partition)
		}
		return offset, offset.Err
	}
}

func (d *driver) closeProducers() {
	for _, producer := range d.producers {
		producer.Close()
	}
	clear(d.producers)
}

func (d *driver) bye(*godriver.Request) (godriver.Answer, error) {
	d.closeProducers()
	return nil, nil
}
