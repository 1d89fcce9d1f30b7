package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/conclave-go/conclave/examples/internal/theatre"
	"github.com/conclave-go/conclave/internal/process"
)

func acts(ctx context.Context, s *theatre.Stage) {
	start := func(name string) { s.Start(name, "-listen", "127.0.0.1:0") }
	answers := func() { // on a busy machine the active one may have changed meanwhile
		s.Until(ctx, "an answer", func() bool {
			o := s.InOffice(ctx, "")
			limited, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			said, err := get(limited, o.Address)
			if err != nil || said != "token "+o.Token.String() {
				return false
			}
			s.Say(s.Styles.Good, "%s is ready, and answers: %s", o.Copy, said)
			return true
		})
	}
	s.Act("1/4  Two replicas start: one serves.")
	start("r1")
	start("r2")
	answers()
	s.Act("2/4  A rollout: the active one is told to end, and the next serves at once.")
	s.Terminate(ctx)
	answers()
	start("r3")
	s.Act("3/4  The active one is killed: the next serves when its lease has expired.")
	s.Kill(ctx)
	answers()
	start("r4")
	if process.CanPause {
		s.Act("4/4  The active one is paused for longer than its lease lasts.")
		s.Pause(ctx)
		answers()
	}
}

// get asks a replica whether it is ready, and for an answer.
func get(ctx context.Context, address string) (said string, err error) {
	for _, path := range []string{"/readyz", "/"} {
		status, text, err := theatre.Request(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%s: status %d", path, status)
		}
		if err != nil {
			return "", err
		}
		said = text
	}
	return said, nil
}
