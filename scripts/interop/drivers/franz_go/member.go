// A group member by franz-go: it reads, commits, and tells all of it; see godriver's Report.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"ringmill/godriver"
)

const (
	pollTime   = 100 * time.Millisecond
	pollMax    = 500
	commitTime = 5 * time.Second
)

var balancers = map[string]func() kgo.GroupBalancer{
	"range": kgo.RangeBalancer, "roundrobin": kgo.RoundRobinBalancer, "sticky": kgo.StickyBalancer,
	"cooperative-sticky": kgo.CooperativeStickyBalancer, "uniform": kgo.StickyBalancer,
}

// joinGroup is a member until it is to leave.
func joinGroup(address, settings string) {
	report := godriver.NewReport(settings)
	wanted := report.Settings
	options := []kgo.Opt{
		kgo.SeedBrokers(address), kgo.ClientID(wanted.Name), kgo.ConsumerGroup(wanted.Group), kgo.ConsumeTopics(wanted.Topic),
		kgo.Balancers(balancers[wanted.Assignor]()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(godriver.Duration(wanted.SessionMs)), kgo.HeartbeatInterval(godriver.Duration(wanted.HeartbeatMs)),
		kgo.RebalanceTimeout(godriver.Duration(wanted.RebalanceMs)), kgo.FetchMaxWait(pollTime),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, given map[string][]int32) {
			report.Gained(given[wanted.Topic]...)
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, client *kgo.Client, taken map[string][]int32) {
			report.Commit(func(offsets map[int32]int64) error { return commit(client, wanted.Topic, offsets) })
			report.Lost(taken[wanted.Topic]...)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, taken map[string][]int32) { report.Lost(taken[wanted.Topic]...) }),
	}
	if os.Getenv("FRANZ_GO_VERSION") != "" {
		options = append(options, kgo.MaxVersions(kversion.V2_1_0()))
	}
	if wanted.Instance != nil {
		options = append(options, kgo.InstanceID(*wanted.Instance))
	}
	if wanted.Protocol == "consumer" {
		options = append(options, kgo.ServerSideBalancer())
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		select {
		case <-report.Closing:
			client.CloseAllowingRebalance()
			return
		default:
		}
		pollOnce(client, report)
	}
}

// pollOnce reads what there is and commits it, before partitions may be taken away.
func pollOnce(client *kgo.Client, report *godriver.Report) {
	ctx, cancel := context.WithTimeout(context.Background(), pollTime)
	fetches := client.PollRecords(ctx, pollMax)
	cancel()
	fetches.EachError(func(_ string, _ int32, err error) {
		if !errors.Is(err, context.DeadlineExceeded) {
			report.Error(err)
		}
	})
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		records := []godriver.Record{}
		for _, record := range p.Records {
			records = append(records, godriver.Record{Offset: record.Offset, Value: record.Value})
		}
		report.Read(p.Partition, records)
	})
	// Without records in hand the group may rebalance meanwhile, and a commit of before would be one of after.
	if fetches.NumRecords() > 0 {
		report.Commit(func(offsets map[int32]int64) error { return commit(client, report.Settings.Topic, offsets) })
	}
	client.AllowRebalance()
}

// commit waits for the broker's answer; the first partition that is refused is an error.
func commit(client *kgo.Client, topic string, offsets map[int32]int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), commitTime)
	defer cancel()
	wanted := map[int32]kgo.EpochOffset{}
	for partition, offset := range offsets {
		wanted[partition] = kgo.EpochOffset{Epoch: -1, Offset: offset}
	}
	var refused error
	client.CommitOffsetsSync(ctx, map[string]map[int32]kgo.EpochOffset{topic: wanted},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
			refused = err
			if err != nil || answer == nil {
				return
			}
			for _, t := range answer.Topics {
				for _, p := range t.Partitions {
					if refused == nil {
						refused = kerr.ErrorForCode(p.ErrorCode)
					}
				}
			}
		})
	return refused
}
