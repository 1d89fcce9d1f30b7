package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/conclave-go/conclave/examples/internal/screen"
	"github.com/conclave-go/conclave/examples/internal/theatre"
	"github.com/conclave-go/conclave/internal/process"
	"github.com/conclave-go/conclave/internal/tempdir"
	"github.com/conclave-go/conclave/lock"
)

const (
	firstSells   = 3
	secondSells  = 4
	shouldBeLeft = inStock - firstSells - secondSells
)

// show has copies of the program sell, and approves their sales when it is time.
type show struct {
	*theatre.Stage

	unguarded, soft bool
	dir, address    string
	logged          map[string][]entry
	results         []result

	mu   sync.Mutex
	asks map[string]chan struct{} // for approval, by copy; closed by the answer
}

// entry is what a copy logs.
type entry struct {
	msg    string
	Token  lock.Token
	Amount int64
	Error  string
}

// result is the outcome of an act.
type result struct {
	guarded       bool
	first, second entry // when each had the lock and looked
	late, told    entry // what the first wrote, and heard from its Hold afterwards
	left          int64
}

// asExpected reports whether the condition has made the difference.
func (r *result) asExpected() bool {
	return r.first.Token < r.second.Token && r.told.Error != "" &&
		(r.late.Error != "") == r.guarded && (r.left == shouldBeLeft) == r.guarded
}

func (s *show) flags(fs *flag.FlagSet) (check func() error) {
	fs.BoolVar(&s.unguarded, "unguarded", false, "only the part without the condition on the token")
	fs.BoolVar(&s.soft, "soft", !process.CanPause, "cut the worker off from etcd while it waits, instead of SIGSTOP")
	return func() error {
		if !s.soft && !process.CanPause {
			return errors.New("-soft=false needs SIGSTOP, which this system does not have")
		}
		return nil
	}
}

func (s *show) acts(ctx context.Context, stage *theatre.Stage) {
	s.Stage, stage.Hear, s.asks = stage, s.hear, make(map[string]chan struct{})
	s.Do(func() error {
		if !hasDriver {
			return errors.New("built with -race, which leaves SQLite out; -tags sqlite brings it back")
		}
		dir, err := tempdir.Make("fencing")
		if err != nil {
			return err
		}
		s.dir = dir.Path()
		s.Cleanup(dir.Remove)
		listener, err := net.Listen("tcp", "localhost:0")
		if err != nil {
			return err
		}
		s.address = listener.Addr().String()
		server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
		s.Cleanup(server.Close)
		go func() { _ = server.Serve(listener) }() // ends with Close
		return nil
	})
	if s.Failed != nil {
		return
	}
	if !s.unguarded {
		s.act(ctx, true, `Guarded by "AND token <= ?": the late write is refused.`)
	}
	s.act(ctx, false, "Unguarded, without that: the late write undoes a sale.")
	s.Do(s.table)
}

// hear keeps what copies log of a sale.
func (s *show) hear(l theatre.Line) error {
	e := entry{msg: l.Msg}
	switch l.Msg {
	case "looked", "wrote", "unlocked":
		s.logged[l.Copy] = append(s.logged[l.Copy], e)
		return l.Read(&s.logged[l.Copy][len(s.logged[l.Copy])-1])
	case theatre.Ended:
		if l.Detail != "" {
			return errors.New(l.Detail)
		}
	}
	return nil
}

// ServeHTTP answers a copy that asks for approval when it is told to.
func (s *show) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	answer := make(chan struct{})
	s.mu.Lock()
	s.asks[r.URL.Path] = answer
	s.mu.Unlock()
	select {
	case <-answer:
	case <-r.Context().Done():
	}
}

// act has w1 look, w2 overtake it, and w1 write.
func (s *show) act(ctx context.Context, guarded bool, title string) {
	s.Act("%s", title)
	s.logged = make(map[string][]entry)
	r := result{guarded: guarded}
	file := filepath.Join(s.dir, fmt.Sprintf("stock-%t.db", guarded))
	start := func(name string, sells int) {
		s.StartBehind(s.Run, name, "-db", file, fmt.Sprintf("-unguarded=%t", !guarded),
			"-sell", strconv.Itoa(sells), "-approval", "http://"+s.address+"/"+name)
	}
	start("w1", firstSells)
	r.first = s.looks(ctx, "w1")
	start("w2", secondSells)
	s.Say(s.Styles.Dim, "w2 asks for the lock too")
	w1 := s.Copy("w1")
	stop, goOn, how := func() error { return w1.Pause(ctx) }, w1.Resume, "stopped (SIGSTOP)"
	if s.soft {
		stop, goOn, how = w1.Cut, w1.Heal, "cut off from etcd, and waits"
	}
	stopped := time.Now()
	s.Do(stop)
	s.Say(s.Styles.Title, "w1 is %s between its read and its write", how)
	r.second = s.looks(ctx, "w2")
	s.Say(s.Styles.Dim, "... %s later, when w1's lease has run out", time.Since(stopped).Round(10*time.Millisecond))
	s.sells(ctx, "w2", secondSells, r.second)
	s.Say(s.Styles.Title, "w1 continues where it was")
	s.Do(goOn)
	r.late, r.told = s.sells(ctx, "w1", firstSells, r.second)
	if r.late.Error != "" { // it takes the lock again
		s.looks(ctx, "w1")
		s.sells(ctx, "w1", firstSells, r.second)
	}
	s.Do(func() (err error) { r.left, err = s.left(ctx, file); return err })
	s.results = append(s.results, r)
}

// left returns how many bolts are left.
func (s *show) left(ctx context.Context, file string) (amount int64, err error) {
	db, err := sql.Open("sqlite", file)
	if err != nil {
		return 0, err
	}
	amount, _, err = unguarded(db).peek(ctx)
	return amount, errors.Join(err, db.Close())
}

// looks waits until a copy has looked at the stock, and asks for approval.
func (s *show) looks(ctx context.Context, name string) entry {
	e := s.next(ctx, name, "looked")
	s.Until(ctx, name+" asking", func() bool { return s.asked(name) != nil })
	s.Say(lipgloss.Style{}, "%s holds the lock, token %s, and sees %d %s", name, e.Token, e.Amount, item)
	return e
}

// sells approves the sale of a copy, and waits until it has given up the lock.
func (s *show) sells(ctx context.Context, name string, n int, latest entry) (write, unlock entry) {
	s.Do(func() error {
		close(s.asked(name))
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.asks, "/"+name)
		return nil
	})
	write = s.next(ctx, name, "wrote")
	style := s.Styles.Good
	if write.Error == "" && write.Token < latest.Token {
		style = s.Styles.Bad
	}
	s.Say(style, "%s sells %d, so it writes %d: %s", name, n, write.Amount, outcome(write))
	if unlock = s.next(ctx, name, "unlocked"); unlock.Error != "" {
		s.Say(lipgloss.Style{}, "%s is told by its Hold: %s", name, unlock.Error)
	}
	return write, unlock
}

// asked returns what is to be closed to answer a copy, nil if it has not asked.
func (s *show) asked(name string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asks["/"+name]
}

// next returns what a copy logs next, which has to be that.
func (s *show) next(ctx context.Context, name, msg string) (e entry) {
	s.Until(ctx, msg+" of "+name, func() bool { return len(s.logged[name]) > 0 })
	s.Do(func() error {
		e, s.logged[name] = s.logged[name][0], s.logged[name][1:]
		if e.msg != msg {
			return fmt.Errorf("%s has %s, not %s: %s", name, e.msg, msg, e.Error)
		}
		return nil
	})
	return e
}

// outcome says whether the table accepted a write.
func outcome(write entry) string {
	if write.Error != "" {
		return "refused: " + write.Error
	}
	return fmt.Sprintf("accepted, token %s", write.Token)
}

// table prints the results. It fails if something unexpected has happened.
func (s *show) table() (err error) {
	var rows [][]string
	for _, r := range s.results {
		name, late, hold, style := "unguarded", "accepted, token "+r.late.Token.String(), "nothing", s.Styles.Good
		if r.guarded {
			name = "guarded"
		}
		if r.late.Error != "" {
			late = fmt.Sprintf("refused: token %s < %s", r.late.Token, r.second.Token)
		}
		if r.told.Error != "" {
			hold = "lost"
		}
		if r.left != shouldBeLeft {
			style = s.Styles.Bad
		}
		rows = append(rows, []string{name, late, hold, style.Render(fmt.Sprint(r.left)), strconv.Itoa(shouldBeLeft)})
		if !r.asExpected() {
			err = errors.New("this is not what was expected")
		}
	}
	s.Printf("%s", screen.Table([]string{"", "late write", "its Hold then says", "stock", "should be"}, rows, s.Width()))
	return err
}
