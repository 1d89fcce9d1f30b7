package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/conclave-go/conclave/internal/process"
)

// errEnough is the cause of the end of a run that its user has seen enough of.
var errEnough = errors.New("seen enough")

// play plays what the options ask for, and then what keys ask for if there are any.
func (o *options) play(ctx context.Context, s *stage) error {
	s.view.Title(fmt.Sprintf("%d processes stand for election.", o.candidates))
	if err := s.sayOrder(ctx); err != nil {
		return err
	}
	wanted := o.wanted()
	for i, a := range wanted {
		if err := s.perform(ctx, a, fmt.Sprintf("%d/%d  ", i+1, len(wanted))); err != nil {
			return err
		}
		if s.key != "" {
			break // the user has taken over
		}
	}
	if s.keys == nil {
		return nil
	}
	return s.playKeys(ctx)
}

// perform plays an act with the present leader, until there is another and all wait
// again.
func (s *stage) perform(ctx context.Context, a act, number string) error {
	s.view.Title(number + a.intro)
	s.view.update(s.board)
	s.chart.Restart(process.Now())
	before := len(s.board.failovers)
	defer func() { s.finishChart(a, s.board.outcome(before)) }()
	if err := s.linger(ctx); err != nil {
		return err
	}
	for try := 1; ; try++ {
		leader, err := s.settle(ctx)
		if err != nil {
			return err
		}
		err = a.play(ctx, s, leader)
		if err == nil {
			return s.sayOrder(ctx)
		}
		if try == tries || !errors.Is(err, errDeposed) {
			return err
		}
	}
}

// tries is how often an act is tried whose leader loses its term by itself: on a busy
// machine leases end.
const tries = 3

// playKeys plays the acts of the keys that the user presses, one after another,
// until ctx ends.
func (s *stage) playKeys(ctx context.Context) error {
	if s.key == "" {
		s.view.Title("The keys are yours.")
		s.view.update(s.board)
	}
	for {
		key, err := s.pressed(ctx)
		if err != nil {
			return err
		}
		for _, a := range acts() {
			if a.key == key {
				if err := s.perform(ctx, a, ""); err != nil {
					return err
				}
			}
		}
	}
}
