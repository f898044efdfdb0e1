// A group member by sarama: it reads, commits, and tells all of it; see godriver's Report.
package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/IBM/sarama"

	"ringmill/godriver"
)

const commitEvery = 100 * time.Millisecond

var strategies = map[string]func() sarama.BalanceStrategy{
	"range": sarama.NewBalanceStrategyRange, "roundrobin": sarama.NewBalanceStrategyRoundRobin,
	"sticky": sarama.NewBalanceStrategySticky, "cooperative-sticky": sarama.NewBalanceStrategyCooperativeSticky,
}

// joinGroup is a member until it is to leave.
func joinGroup(address, settings string) {
	report := godriver.NewReport(settings)
	wanted := report.Settings
	version := sarama.MaxVersion
	if text := os.Getenv("SARAMA_VERSION"); text != "" {
		version = must(sarama.ParseKafkaVersion(text))
	}
	config := (&driver{version: version}).config()
	config.ClientID = wanted.Name
	config.Consumer.Offsets.AutoCommit.Enable = false
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Group.Session.Timeout = godriver.Duration(wanted.SessionMs)
	config.Consumer.Group.Heartbeat.Interval = godriver.Duration(wanted.HeartbeatMs)
	config.Consumer.Group.Rebalance.Timeout = godriver.Duration(wanted.RebalanceMs)
	config.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategies[wanted.Assignor]()}
	if wanted.Instance != nil {
		config.Consumer.Group.InstanceId = *wanted.Instance
	}
	group := must(sarama.NewConsumerGroup([]string{address}, wanted.Group, config))
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-report.Closing
		cancel()
	}()
	go func() {
		for err := range group.Errors() {
			report.Error(err)
		}
	}()
	for ctx.Err() == nil {
		if err := group.Consume(ctx, []string{wanted.Topic}, &handler{report}); err != nil && !errors.Is(err, context.Canceled) {
			report.Error(err)
			time.Sleep(commitEvery)
		}
	}
	group.Close()
}

// handler is given a goroutine for each partition that the member has.
type handler struct{ report *godriver.Report }

func (h *handler) Setup(session sarama.ConsumerGroupSession) error {
	go h.commit(session)
	return nil
}

func (h *handler) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (h *handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	h.report.Gained(claim.Partition())
	defer h.report.Lost(claim.Partition())
	for {
		select {
		case message, open := <-claim.Messages():
			if !open {
				return nil
			}
			h.report.Read(claim.Partition(), []godriver.Record{{Offset: message.Offset, Value: message.Value}})
		case <-session.Context().Done():
			return nil
		}
	}
}

// commit commits all that was read, as long as the session lasts. Sarama does not say what becomes of it, and tries again by itself.
func (h *handler) commit(session sarama.ConsumerGroupSession) {
	for session.Context().Err() == nil {
		h.report.Commit(func(offsets map[int32]int64) error {
			for partition, offset := range offsets {
				session.MarkOffset(h.report.Settings.Topic, partition, offset, "")
			}
			session.Commit()
			return godriver.ErrUntold
		})
		time.Sleep(commitEvery)
	}
}
