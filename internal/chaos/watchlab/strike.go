package watchlab

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Fault is the name of something that goes wrong.
type Fault string

// The faults. Those of a line hit one client, the others everybody.
const (
	Reset       Fault = "reset"
	Refuse      Fault = "refuse"
	HalfOpen    Fault = "half-open"
	Forget      Fault = "forget"
	Cut         Fault = "cut"
	CutToServer Fault = "cut to the members"
	CutToClient Fault = "cut from the members"
	CutMember   Fault = "cut from one member"
	Slow        Fault = "slow line"

	Kill    Fault = "member killed"
	Stop    Fault = "member stopped"
	Replace Fault = "member replaced"
	Isolate Fault = "member cut off from its peers"
	Vanish  Fault = "member vanished"
	Move    Fault = "leader moved"

	Compact Fault = "compaction"
	Defrag  Fault = "defragmentation"
	Tokens  Fault = "tokens expired"
)

// Strike is a fault at a time.
type Strike struct {
	Fault  Fault
	At     time.Duration // after the round has begun
	For    time.Duration
	Peer   int // whose line it hits
	Member int // that it hits
	Amount int // how slow, or how many revisions are kept
}

// String says it in a line.
func (s Strike) String() string {
	return fmt.Sprintf("%v at %v for %v (peer %d, member %d, amount %d)", s.Fault, s.At, s.For, s.Peer, s.Member, s.Amount)
}

func drawStrike(d draw, p Plan) Strike {
	faults := []Fault{
		Reset, Reset, Refuse, Refuse, Refuse, HalfOpen, Forget, Cut, CutToServer, CutToClient, Slow,
		Kill, Stop, Compact, Compact, Compact, Compact, Defrag,
	}
	if p.Members > 1 {
		faults = append(faults, CutMember, Replace, Isolate, Isolate, Move, Move)
	}
	if p.TokenTTL > 0 {
		faults = append(faults, Tokens, Tokens, Tokens)
	}
	return Strike{
		Fault: oneOf(d, faults...), At: d.ms(0, 500), For: d.ms(10, oneOf(d, 100, 600, 2500)),
		Peer: d.IntN(len(p.Peers)), Member: d.IntN(p.Members), Amount: d.between(0, 40),
	}
}

// overtaken are faults of lines, and a compaction before they are over: who comes back then
// has missed what history no longer has.
func overtaken(d draw, p Plan) []Strike {
	at, lasts := d.ms(0, 150), d.ms(200, 700)
	strikes := []Strike{{Fault: Compact, At: at + lasts*9/10, Amount: d.between(0, 3)}}
	for peer := range p.Peers {
		if d.chance(60) {
			fault := oneOf(d, Refuse, Refuse, HalfOpen, Cut, CutToClient, Slow)
			strikes = append(strikes, Strike{Fault: fault, At: at, For: lasts, Peer: peer, Amount: d.between(0, 10)})
		}
	}
	return strikes
}

// strike does what a strike says and returns when it is over.
func (l *lab) strike(ctx context.Context, s Strike) error {
	l.journal.note("%v begins", s)
	defer l.journal.note("%v is over", s.Fault)
	switch s.Fault {
	case Kill, Stop, Replace:
		return l.fell(ctx, s)
	case Isolate:
		return l.isolate(ctx, s)
	case Move:
		l.request(ctx, "the leader was not moved", func(ctx context.Context) error { return l.cluster.MoveLeader(ctx) })
	case Compact:
		l.compact(ctx, s)
	case Defrag:
		l.request(ctx, "there was no defragmentation", func(ctx context.Context) error {
			_, err := l.admin.Defragment(ctx, l.cluster.Endpoints()[s.Member])
			return err
		})
	case Tokens:
		return l.expireTokens(ctx)
	default:
		l.breakLine(ctx, s)
	}
	return nil
}

// request asks a member for something, who may be dead, or cut off: it would be waited for
// without an end.
func (l *lab) request(ctx context.Context, failed string, ask func(ctx context.Context) error) {
	ctx, cancel := context.WithTimeout(ctx, patience/6)
	defer cancel()
	if err := ask(ctx); err != nil {
		l.journal.note("%s: %v", failed, err)
	}
}

// breakLine does something to the network of a peer for a while.
func (l *lab) breakLine(ctx context.Context, s Strike) {
	p := l.peers[s.Peer]
	p.suffer(s)
	if s.Fault != Reset {
		pause(ctx, s.For)
	}
	p.heal()
}

// suffer begins a fault of the peer's line.
func (p *peer) suffer(s Strike) {
	map[Fault]func(){
		Reset: p.net.Reset, Refuse: p.net.Refuse, HalfOpen: p.net.HalfOpen, Forget: p.net.Forget,
		Cut: p.net.Cut, CutToServer: p.net.CutToServer, CutToClient: p.net.CutToClient,
		CutMember: func() { p.net.CutMember(s.Member) },
		Slow: func() {
			p.net.RateToClient((s.Amount + 1) * 64 << 10)
			p.net.DelayToClient(time.Duration(s.Amount) * time.Millisecond)
		},
	}[s.Fault]()
}

// fell lets a member go for a while.
func (l *lab) fell(ctx context.Context, s Strike) error {
	l.surgery.Lock()
	defer l.surgery.Unlock()
	stop := l.kill
	if s.Fault == Stop {
		stop = func(member int) error { return l.cluster.Stop(ctx, member) }
	}
	if err := errors.Join(l.truth.avoid(s.Member), stop(s.Member)); err != nil {
		return err
	}
	pause(ctx, s.For)
	if s.Fault == Replace && l.plan.Members > 1 {
		if err := l.cluster.Replace(ctx, s.Member); err != nil {
			return err
		}
		return l.truth.resume(s.Member)
	}
	return l.restart(ctx, s.Member)
}

// isolate cuts a member off from the others, but not from its clients.
func (l *lab) isolate(ctx context.Context, s Strike) error {
	l.surgery.Lock()
	defer l.surgery.Unlock()
	if err := l.cutOff(s.Member); err != nil {
		return err
	}
	pause(ctx, s.For)
	l.cluster.HealLinks()
	return nil
}

func (l *lab) kill(member int) error {
	return errors.Join(l.truth.avoid(member), l.cluster.Kill(member))
}

func (l *lab) restart(ctx context.Context, member int) error {
	if err := l.cluster.Restart(ctx, member); err != nil {
		return err
	}
	return l.truth.resume(member)
}

func (l *lab) cutOff(member int) error {
	return errors.Join(l.truth.avoid(member), l.cluster.Isolate(member))
}

// begin begins a fault that everybody has to get through, and returns what ends it.
func (l *lab) begin(ctx context.Context, s Strike) (end func() error, err error) {
	end = func() error { return nil }
	if s.Fault == "" {
		return end, nil
	}
	l.tally.struck(s.Fault)
	l.journal.note("%v of member %d begins, and lasts until all are there", s.Fault, s.Member)
	switch s.Fault {
	case Vanish:
		for _, p := range l.peers {
			p.net.CutMember(s.Member)
		}
		end = func() error {
			l.healLines()
			return nil
		}
	case Isolate:
		err = l.cutOff(s.Member)
		end = func() error {
			l.cluster.HealLinks()
			return nil
		}
	case Kill:
		err = l.kill(s.Member)
		end = func() error { return l.restart(ctx, s.Member) }
	default:
		err = fmt.Errorf("watchlab: nobody gets through %q", s.Fault)
	}
	return end, err
}

// compact leaves so many revisions of the history, of which the truth must have been read.
func (l *lab) compact(ctx context.Context, s Strike) {
	at := l.truth.revision() - int64(s.Amount)
	l.compacted.raise(at) // what is attempted may happen
	opts := []clientv3.CompactOption{}
	if s.Amount%2 == 0 {
		opts = append(opts, clientv3.WithCompactPhysical())
	}
	ctx, cancel := context.WithTimeout(ctx, patience/6)
	defer cancel()
	_, err := l.admin.Compact(ctx, at, opts...)
	l.journal.note("compacted at %d: %v", at, err)
}

// expireTokens makes all members forget all tokens.
func (l *lab) expireTokens(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), guard)
	defer cancel()
	if err := insist(ctx, func(ctx context.Context) error {
		_, err := l.admin.AuthDisable(ctx)
		return err
	}); err != nil {
		return err
	}
	return insist(ctx, func(ctx context.Context) error {
		_, err := l.admin.AuthEnable(ctx)
		return err
	})
}

// insist tries until it works, or ctx ends.
func insist(ctx context.Context, try func(ctx context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := try(attempt)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// pause waits, or returns with the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// healLines ends the faults of all lines.
func (l *lab) healLines() {
	for _, p := range l.peers {
		p.heal()
	}
}

// heal ends the faults of a peer's line, but not what the line is always like.
func (p *peer) heal() {
	p.net.Heal()
	p.net.RateToClient(p.plan.Rate)
	p.net.DelayToClient(p.plan.Delay)
}
