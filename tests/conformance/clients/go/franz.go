package main

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strconv"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func franz(bootstrap string) (operations, func(error) (int, bool)) {
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap))
	if err != nil {
		panic(err)
	}
	admin := kadm.NewClient(client)
	code := func(err error) (int, bool) {
		var known *kerr.Error
		if errors.As(err, &known) {
			return int(known.Code), true
		}
		return 0, false
	}
	member := &franzMember{bootstrap: bootstrap}
	return operations{
		"group_join":   member.join,
		"group_poll":   member.poll,
		"group_commit": member.commit,
		"group_leave":  member.leave,
		"version": func(context.Context, *request) (object, error) {
			return moduleVersion("github.com/twmb/franz-go"), nil
		},
		"produce": func(ctx context.Context, r *request) (object, error) { return franzProduce(ctx, bootstrap, r) },
		"consume": func(ctx context.Context, r *request) (object, error) { return franzConsume(ctx, bootstrap, r) },
		"list_offset": func(ctx context.Context, r *request) (object, error) {
			var listed kadm.ListedOffsets
			var err error
			switch at := r.At.(type) {
			case string:
				if at == "earliest" {
					listed, err = admin.ListStartOffsets(ctx, r.Topic)
				} else {
					listed, err = admin.ListEndOffsets(ctx, r.Topic)
				}
			case float64:
				listed, err = admin.ListOffsetsAfterMilli(ctx, int64(at), r.Topic)
			}
			found, _ := listed.Lookup(r.Topic, r.Partition)
			return object{"offset": found.Offset}, first(err, found.Err)
		},
		"create_topic": func(ctx context.Context, r *request) (object, error) {
			_, err := admin.CreateTopic(ctx, int32(r.Partitions), 1, r.Configs, r.Topic)
			return object{}, err
		},
		"list_topics": func(ctx context.Context, r *request) (object, error) {
			topics, err := admin.ListTopicsWithInternal(ctx)
			return object{"topics": topics.Names()}, err
		},
		"describe_topic": func(ctx context.Context, r *request) (object, error) {
			topics, err := admin.ListTopics(ctx, r.Topic)
			partitions := []any{}
			for _, one := range topics[r.Topic].Partitions.Sorted() {
				partitions = append(partitions, []any{one.Partition, one.Leader, one.Replicas, one.ISR})
			}
			return object{"partitions": partitions}, first(err, topics[r.Topic].Err)
		},
		"delete_topic": func(ctx context.Context, r *request) (object, error) {
			_, err := admin.DeleteTopic(ctx, r.Topic)
			return object{}, err
		},
		"create_partitions": func(ctx context.Context, r *request) (object, error) {
			answers, err := admin.UpdatePartitions(ctx, r.Total, r.Topic)
			return object{}, first(err, answers.Error())
		},
		"delete_records": func(ctx context.Context, r *request) (object, error) {
			before := kadm.Offsets{}
			before.Add(kadm.Offset{Topic: r.Topic, Partition: r.Partition, At: r.Before, LeaderEpoch: -1})
			answers, err := admin.DeleteRecords(ctx, before)
			deleted, _ := answers.Lookup(r.Topic, r.Partition)
			return object{"low_watermark": deleted.LowWatermark}, first(err, deleted.Err)
		},
		"describe_configs": func(ctx context.Context, r *request) (object, error) {
			var described kadm.ResourceConfigs
			var err error
			if r.Type == "topic" {
				described, err = admin.DescribeTopicConfigs(ctx, r.Name)
			} else {
				id, _ := strconv.Atoi(r.Name)
				described, err = admin.DescribeBrokerConfigs(ctx, int32(id))
			}
			resource, found := described.On(r.Name, nil)
			configs := map[string]*string{}
			for _, one := range resource.Configs {
				configs[one.Key] = one.Value
			}
			return object{"configs": configs}, first(err, found)
		},
		"alter_configs": func(ctx context.Context, r *request) (object, error) {
			answers, err := admin.AlterTopicConfigsState(ctx, franzChanges(r), r.Name)
			_, failed := answers.On(r.Name, func(one *kadm.AlterConfigsResponse) error { return one.Err })
			return object{}, first(err, failed)
		},
		"incremental_alter_configs": func(ctx context.Context, r *request) (object, error) {
			answers, err := admin.AlterTopicConfigs(ctx, franzChanges(r), r.Name)
			_, failed := answers.On(r.Name, func(one *kadm.AlterConfigsResponse) error { return one.Err })
			return object{}, first(err, failed)
		},
		"describe_cluster": func(ctx context.Context, r *request) (object, error) {
			cluster, err := admin.BrokerMetadata(ctx)
			brokers := []any{}
			for _, one := range cluster.Brokers {
				brokers = append(brokers, []any{one.NodeID, one.Host, one.Port})
			}
			return object{"cluster_id": cluster.Cluster, "controller": cluster.Controller, "brokers": brokers}, err
		},
		"list_config_resources": func(ctx context.Context, r *request) (object, error) {
			listed, err := admin.ListConfigResources(ctx)
			resources := map[string][]string{}
			for _, one := range listed.Resources {
				kind := map[int8]string{2: "topic", 4: "broker"}[int8(one.Type)]
				resources[kind] = append(resources[kind], one.Name)
			}
			for _, names := range resources {
				sort.Strings(names)
			}
			return object{"resources": resources}, first(err, listed.Err)
		},
		"describe_log_dirs": func(ctx context.Context, r *request) (object, error) {
			described, err := admin.DescribeBrokerLogDirs(ctx, 1, nil)
			sizes := map[string]int64{}
			described.Each(func(directory kadm.DescribedLogDir) {
				directory.Topics.Each(func(one kadm.DescribedLogDirPartition) {
					sizes[fmt.Sprintf("%s-%d", one.Topic, one.Partition)] = one.Size
				})
			})
			return object{"partitions": sizes}, first(err, described.Error())
		},
		"describe_producers": func(ctx context.Context, r *request) (object, error) {
			set := kadm.TopicsSet{}
			set.Add(r.Topic, r.Partition)
			described, err := admin.DescribeProducers(ctx, set)
			producers := []any{}
			described.EachProducer(func(one kadm.DescribedProducer) {
				producers = append(producers, []any{one.ProducerEpoch, one.LastSequence})
			})
			return object{"producers": producers}, err
		},
		"list_groups": func(ctx context.Context, r *request) (object, error) {
			listed, err := admin.ListGroups(ctx)
			return object{"groups": listed.Groups()}, err
		},
		"describe_group": func(ctx context.Context, r *request) (object, error) {
			described, err := admin.DescribeGroups(ctx, r.Group)
			group := described[r.Group]
			return object{"state": group.State, "members": len(group.Members)}, first(err, group.Err)
		},
		"group_offset": func(ctx context.Context, r *request) (object, error) {
			fetched, err := admin.FetchOffsets(ctx, r.Group)
			found, there := fetched.Lookup(r.Topic, r.Partition)
			if !there {
				return object{"offset": nil}, err
			}
			return object{"offset": found.At}, first(err, found.Err)
		},
		"alter_group_offset": func(ctx context.Context, r *request) (object, error) {
			offsets := kadm.Offsets{}
			offsets.Add(kadm.Offset{Topic: r.Topic, Partition: r.Partition, At: *r.Offset, LeaderEpoch: -1})
			committed, err := admin.CommitOffsets(ctx, r.Group, offsets)
			return object{}, first(err, committed.Error())
		},
		"delete_group_offset": func(ctx context.Context, r *request) (object, error) {
			set := kadm.TopicsSet{}
			set.Add(r.Topic, r.Partition)
			deleted, err := admin.DeleteOffsets(ctx, r.Group, set)
			return object{}, first(err, deleted.Error())
		},
		"delete_group": func(ctx context.Context, r *request) (object, error) {
			deleted, err := admin.DeleteGroup(ctx, r.Group)
			return object{}, first(err, deleted.Err)
		},
	}, code
}

func franzChanges(r *request) []kadm.AlterConfig {
	changes := []kadm.AlterConfig{}
	for name, value := range r.Set {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: kadm.StringPtr(value)})
	}
	for _, name := range r.Delete {
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: name})
	}
	return changes
}

func franzProduce(ctx context.Context, bootstrap string, r *request) (object, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	acks := map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()}
	options := []kgo.Opt{
		kgo.SeedBrokers(bootstrap), kgo.RequiredAcks(acks[r.Acks]),
		kgo.ProducerBatchCompression(codecs[r.Codec]), kgo.ProducerBatchMaxBytes(20_000_000),
	}
	if r.Partition != byPartitioner {
		options = append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	if !r.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	records := []*kgo.Record{}
	for _, one := range r.Records {
		sent := &kgo.Record{
			Topic: r.Topic, Partition: r.Partition, Key: decoded(one.Key), Value: decoded(one.Value), Timestamp: one.time(),
		}
		for _, header := range one.Headers {
			sent.Headers = append(sent.Headers, kgo.RecordHeader{Key: header.name, Value: header.value})
		}
		records = append(records, sent)
	}
	results := client.ProduceSync(ctx, records...)
	offsets := []int64{}
	for _, one := range records {
		offsets = append(offsets, one.Offset)
	}
	return object{"offsets": offsets}, results.FirstErr()
}

func franzConsume(ctx context.Context, bootstrap string, r *request) (object, error) {
	start := kgo.NewOffset().AtStart()
	if r.Offset != nil {
		start = kgo.NewOffset().At(*r.Offset)
	}
	if r.Time != nil {
		start = kgo.NewOffset().AfterMilli(*r.Time)
	}
	partitions := map[string]map[int32]kgo.Offset{r.Topic: {r.Partition: start}}
	client, err := kgo.NewClient(kgo.SeedBrokers(bootstrap), kgo.ConsumePartitions(partitions))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	records := []*record{}
	for len(records) < r.Count {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("%d of %d records came: %w", len(records), r.Count, err)
		}
		fetches.EachRecord(func(one *kgo.Record) {
			headers := []*header{}
			for _, each := range one.Headers {
				headers = append(headers, &header{each.Key, each.Value})
			}
			records = append(records, answer(one.Offset, one.Timestamp, one.Key, one.Value, headers))
		})
	}
	return object{"records": records[:r.Count]}, nil
}

// The member of a group that this process is at present; rebalances wait while a poll is at work.
type franzMember struct {
	bootstrap string
	client    *kgo.Client
	mutex     sync.Mutex
	owned     map[int32]bool
}

func (m *franzMember) join(_ context.Context, r *request) (object, error) {
	m.owned = map[int32]bool{}
	own := func(owns bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
			m.mutex.Lock()
			defer m.mutex.Unlock()
			for _, partition := range topics[r.Topic] {
				if owns {
					m.owned[partition] = true
				} else {
					delete(m.owned, partition)
				}
			}
		}
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(m.bootstrap), kgo.ConsumerGroup(r.Group), kgo.ConsumeTopics(r.Topic), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.BlockRebalanceOnPoll(),
		kgo.SessionTimeout(milliseconds(r.SessionMs)), kgo.HeartbeatInterval(milliseconds(r.HeartbeatMs)),
		kgo.OnPartitionsAssigned(own(true)), kgo.OnPartitionsRevoked(own(false)), kgo.OnPartitionsLost(own(false)),
	}
	if r.Instance != "" {
		options = append(options, kgo.InstanceID(r.Instance))
	}
	if r.Cooperative {
		options = append(options, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	}
	client, err := kgo.NewClient(options...)
	m.client = client
	return object{}, err
}

func (m *franzMember) poll(ctx context.Context, r *request) (object, error) {
	ctx, cancel := context.WithTimeout(ctx, milliseconds(r.Ms))
	defer cancel()
	fetches := m.client.PollFetches(ctx)
	defer m.client.AllowRebalance()
	records := [][4]any{}
	fetches.EachRecord(func(one *kgo.Record) {
		records = append(records, [4]any{one.Partition, one.Offset, encoded(one.Key), encoded(one.Value)})
	})
	for _, failed := range fetches.Errors() {
		if !errors.Is(failed.Err, context.DeadlineExceeded) {
			return nil, failed.Err
		}
	}
	m.mutex.Lock()
	defer m.mutex.Unlock()
	owned := []int{}
	for partition := range m.owned {
		owned = append(owned, int(partition))
	}
	return polled(records, owned), nil
}

func (m *franzMember) commit(ctx context.Context, _ *request) (object, error) {
	return object{}, m.client.CommitUncommittedOffsets(ctx)
}

func (m *franzMember) leave(context.Context, *request) (object, error) {
	m.client.Close()
	return object{}, nil
}
