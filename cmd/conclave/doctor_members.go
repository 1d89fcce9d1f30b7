package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// member is one of etcd's, as it was found.
type member struct {
	ID       string  `json:"id,omitempty"`
	Name     string  `json:"name,omitempty"`
	Endpoint string  `json:"endpoint"`
	Version  string  `json:"version,omitempty"`
	Role     string  `json:"role,omitempty"` // leader, follower, learner
	Term     uint64  `json:"raft_term,omitempty"`
	Index    uint64  `json:"raft_index,omitempty"`
	Size     int64   `json:"db_size,omitempty"` // bytes
	InUse    int64   `json:"db_size_in_use,omitempty"`
	Quota    int64   `json:"db_size_quota,omitempty"`
	Millis   float64 `json:"answers_in_ms,omitempty"`
	// Offset is how far its clock is ahead of the one here, in seconds, give or take OffsetError.
	Offset      *float64 `json:"clock_offset_seconds,omitempty"`
	OffsetError float64  `json:"clock_offset_error_seconds,omitempty"`
	Error       string   `json:"error,omitempty"`

	id, leader uint64
	errors     []string
	took       time.Duration
}

// subject is what findings call it.
func (m *member) subject() string { return cmp.Or(m.Name, m.Endpoint) }

func (m *member) cells() []string {
	clock := "-"
	if m.Offset != nil {
		clock = fmt.Sprintf("%+.0fms ±%.0f", *m.Offset*1000, m.OffsetError*1000)
	}
	if m.Error != "" {
		return []string{cmp.Or(m.Name, "-"), m.Endpoint, "-", "-", "-", "no answer", clock}
	}
	return []string{cmp.Or(m.Name, "-"), m.Endpoint, m.Version, m.Role, megabytes(m.Size), brief(m.took), clock}
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// members asks the members at the endpoints, and those that they know of besides. It
// reports whether one has answered.
func (d *diagnosis) members(ctx context.Context, client *clientv3.Client, endpoints []string, patience time.Duration) bool {
	d.Members = ask(ctx, client, endpoints, patience)
	answered := func(m *member) bool { return m.Error == "" }
	if !slices.ContainsFunc(d.Members, answered) {
		for _, m := range d.Members {
			d.judge(m)
		}
		return false
	}
	var list *clientv3.MemberListResponse
	err := within(ctx, patience, func(ctx context.Context) (err error) {
		list, err = client.MemberList(ctx)
		return err
	})
	if err != nil {
		d.find(note, "cluster", "", "the list of members cannot be had: %v", err)
	} else {
		d.strangers(ctx, client, list.Members, patience)
	}
	for _, m := range d.Members {
		d.judge(m)
	}
	d.together()
	return true
}

// ask asks for the state of the members at some endpoints, all at once.
func ask(ctx context.Context, client *clientv3.Client, endpoints []string, patience time.Duration) []*member {
	out := make([]*member, len(endpoints))
	var all sync.WaitGroup
	for i, e := range endpoints {
		out[i] = &member{Endpoint: e}
		all.Go(func() { out[i].ask(ctx, client, patience) })
	}
	all.Wait()
	return out
}

func (m *member) ask(ctx context.Context, client *clientv3.Client, patience time.Duration) {
	err := within(ctx, patience, func(ctx context.Context) error {
		if _, err := client.Status(ctx, m.Endpoint); err != nil { // it makes the connection
			return err
		}
		begun := time.Now()
		s, err := client.Status(ctx, m.Endpoint)
		m.took = time.Since(begun)
		m.Millis = milliseconds(m.took)
		m.take(s)
		return err
	})
	if err != nil {
		f := etcdFlags{resolved: []string{m.Endpoint}, dialTimeout: min(patience, time.Second)}
		m.Error = f.explain(ctx, err).Error()
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (m *member) take(s *clientv3.StatusResponse) {
	if s == nil {
		return
	}
	m.id, m.leader, m.errors = s.Header.MemberId, s.Leader, s.Errors
	m.ID, m.Version, m.Term, m.Index = fmt.Sprintf("%x", m.id), s.Version, s.RaftTerm, s.RaftIndex
	m.Size, m.InUse, m.Quota = s.DbSize, s.DbSizeInUse, s.DbSizeQuota
	switch {
	case s.IsLearner:
		m.Role = "learner"
	case s.Leader == m.id:
		m.Role = "leader"
	default:
		m.Role = "follower"
	}
}

// strangers names the members, and asks those that are not at the endpoints by the addresses that
// they are said to have.
func (d *diagnosis) strangers(ctx context.Context, client *clientv3.Client, list []*pb.Member, patience time.Duration) {
	voters := 0
	var addresses []string
	for _, known := range list {
		if !known.IsLearner {
			voters++
		}
		at := slices.IndexFunc(d.Members, func(m *member) bool {
			return m.id == known.ID || slices.ContainsFunc(known.ClientURLs, func(url string) bool { return address(url) == address(m.Endpoint) })
		})
		switch {
		case at >= 0:
			d.Members[at].Name = known.Name
		case len(known.ClientURLs) > 0:
			addresses = append(addresses, known.ClientURLs[0])
		default:
			d.find(problem, fmt.Sprintf("member %x", known.ID), "start it, or remove it with etcdctl member remove", "is a member and has never been started")
		}
	}
	more := ask(ctx, client, addresses, patience)
	for _, m := range more {
		for _, known := range list {
			if slices.Contains(known.ClientURLs, m.Endpoint) {
				m.Name = known.Name
			}
		}
		d.find(note, m.subject(), "add it to --endpoints, so that clients survive the loss of the others", "is a member at %s, and not among the endpoints", m.Endpoint)
	}
	d.Members = append(d.Members, more...)
	switch {
	case voters == 1:
		d.find(note, "cluster", "have three members, or five, where locks must outlive a machine", "has one member: when it is down nobody gets a lock")
	case voters%2 == 0:
		d.find(note, "cluster", "add one: an even number survives no more failures than one less", "has %d voting members", voters)
	}
}

// address is an endpoint without its scheme, which need not be given: with TLS it is another.
func address(endpoint string) string {
	if _, after, found := strings.Cut(endpoint, "://"); found {
		return after
	}
	return endpoint
}

// judge says what is wrong with a member.
func (d *diagnosis) judge(m *member) {
	if m.Error != "" {
		d.find(problem, m.subject(), "start it, or let this machine reach it: while it is away a quorum of the others has to do", "does not answer: %s", m.Error)
		return
	}
	if m.leader == 0 {
		d.find(problem, m.subject(), "look at its network to the other members, and whether a quorum of them runs", "has no leader: it is cut off from the others, or there is no quorum")
	}
	for _, e := range m.errors {
		d.alarm(m, e)
	}
	if unsupported(m.Version) {
		d.find(problem, m.subject(), "use etcd 3.4.31, 3.5.13, 3.6 or later: older ones may revoke live leases after a change of a stalled leader, and two hold a lock",
			"is etcd %s, which is not supported", m.Version)
	}
	if m.Quota > 0 && m.Size > m.Quota/10*8 {
		d.find(warning, m.subject(), "compact and defragment, or raise --quota-backend-bytes: without room nobody gets a lock",
			"its database has %s of %s", megabytes(m.Size), megabytes(m.Quota))
	}
	if m.Role == "learner" {
		d.find(note, m.subject(), "leave it out of --endpoints until it is promoted: it answers no linearizable reads", "is a learner")
	}
}

// alarm says what one of the errors means that a member tells of.
func (d *diagnosis) alarm(m *member, text string) {
	switch {
	case strings.Contains(text, "NOSPACE"):
		d.find(problem, m.subject(), "compact, defragment, then etcdctl alarm disarm: until then nobody gets a lock", "has the alarm NOSPACE: its database is full")
	case strings.Contains(text, "CORRUPT"):
		d.find(problem, m.subject(), "replace it: its data is not that of the others", "has the alarm CORRUPT")
	case strings.Contains(text, "no leader"): // it has been said
	default:
		d.find(problem, m.subject(), "look at its log", "says %q", text)
	}
}

// unsupported reports whether Conclave's guarantees do not hold with a version, as lease warns of it.
func unsupported(version string) bool {
	var major, minor, patch int
	if _, err := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch); err != nil || major != 3 || minor >= 6 {
		return false
	}
	first, line := map[int]int{4: 31, 5: 13}[minor]
	return !line || patch < first
}

// behind is by how many entries a member may be behind another when they are asked one after the other.
const behind = 5000

// together compares the members with each other.
func (d *diagnosis) together() {
	leaders, versions, newest := map[uint64]bool{}, map[string]bool{}, uint64(0)
	wrong := false
	for _, m := range d.Members {
		if m.Error != "" {
			wrong = true
			continue
		}
		newest = max(newest, m.Index)
		versions[m.Version] = true
		if m.leader != 0 {
			leaders[m.leader] = true
		}
	}
	for _, m := range d.Members {
		if m.Error == "" && m.Index+behind < newest {
			d.find(warning, m.subject(), "look at its disk and its network: clients that ask it see old state", "is %d entries behind", newest-m.Index)
		}
	}
	if len(leaders) > 1 {
		d.find(problem, "cluster", "ask again: if that stays so members are cut off, or the endpoints are of two clusters", "members name %d leaders", len(leaders))
	}
	if len(versions) > 1 {
		d.find(note, "cluster", "finish the upgrade", "members are of %d versions", len(versions))
	}
	if !wrong && len(leaders) == 1 {
		d.find(good, "cluster", "", "all members answer and have one leader")
	}
}

// errNoClock says that there is no clock to be seen.
var errNoClock = errors.New("no HTTP answer with a date")
