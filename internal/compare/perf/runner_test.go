package perf_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/conclave-go/conclave/internal/compare/perf"
)

func TestTheRestGoesOnWhenAWorkFails(t *testing.T) {
	t.Parallel()
	good, bad := &synthetic{sides: 2}, &synthetic{sides: 2, broken: errors.New("broken on purpose")}
	var progress, tables strings.Builder
	r := perf.Runner{Progress: &progress, Tables: &tables}
	run, err := r.Measure(t.Context(), []perf.Work{bad.work(), good.work()})
	require.ErrorIs(t, err, bad.broken)
	require.Len(t, run.Figures, 4)
	require.Contains(t, progress.String(), "[1/2] test/synthetic on none\n  FAILED: ")
	require.Contains(t, progress.String(), "[2/2] test/synthetic on none\n  3 rounds of 2 sides in ")
	require.Contains(t, tables.String(), "test/synthetic on none: nothing\n")
}

func TestServersEndWhenNoWorkIsLeftForThem(t *testing.T) {
	t.Parallel()
	answers := func(ctx context.Context, endpoints []string) bool {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", endpoints[0])
		if err == nil {
			require.NoError(t, c.Close())
		}
		return err == nil
	}
	var endpoints []string
	var before, after []bool
	on := func(servers perf.Servers, seen *[]bool) perf.Work {
		w := (&synthetic{sides: 2}).work()
		begin := w.Begin
		w.On = servers
		w.Begin = func(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
			if servers == perf.EtcdFast {
				endpoints = on.Endpoints()
			}
			*seen = append(*seen, answers(ctx, endpoints))
			return begin(ctx, on)
		}
		return w
	}
	r := perf.Runner{Progress: io.Discard, Tables: io.Discard}
	_, err := r.Measure(guarded(t), []perf.Work{
		on(perf.EtcdFast, &before), on(perf.None, &before), on(perf.EtcdFast, &before), on(perf.None, &after),
	})
	require.NoError(t, err)
	require.Equal(t, []bool{true, true, true}, before)
	require.Equal(t, []bool{false}, after)
}

func TestARunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	s, never := &synthetic{sides: 2}, &synthetic{sides: 2}
	w := s.work()
	begin := w.Begin
	interrupted := errors.New("interrupted")
	w.Begin = func(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
		cancel(interrupted)
		return begin(ctx, on)
	}
	var progress, tables strings.Builder
	_, err := perf.Runner{Progress: &progress, Tables: &tables}.Measure(ctx, []perf.Work{w, never.work()})
	require.ErrorIs(t, err, interrupted)
	require.Equal(t, 1, s.ended)
	require.Zero(t, never.ended)
	require.Empty(t, tables.String())
}

func TestIncidentsOfARunAreKept(t *testing.T) {
	t.Parallel()
	s := &synthetic{sides: 2}
	w := s.work()
	w.Metrics[0].Name = perf.Margin
	begin := w.Begin
	w.Begin = func(ctx context.Context, on *perf.Env) ([]perf.Side, func() error, error) {
		sides, end, err := begin(ctx, on)
		for i, side := range sides {
			round := side.Round
			sides[i].Round = func(ctx context.Context) (perf.Samples, error) {
				samples, err := round(ctx)
				return perf.Samples{perf.Margin: samples["time"]}, err
			}
		}
		return sides, end, err
	}
	var progress, tables strings.Builder
	run, err := perf.Runner{Quick: true, Progress: &progress, Tables: &tables}.Measure(t.Context(), []perf.Work{w})
	require.NoError(t, err)
	require.Equal(t, []perf.Sample{
		{"test/synthetic", "none", perf.Margin, "conclave", 1},
		{"test/synthetic", "none", perf.Margin, "rival 1", 2},
	}, run.Samples)
}
