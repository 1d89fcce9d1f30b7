package main

import (
	"context"
	"io"
	"math"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// clockStep is how long after an answer a member's clock is looked at again.
	clockStep = 10 * time.Millisecond
	// clockTime is how long it is looked at: until the next second begins, and a bit.
	clockTime = 1500 * time.Millisecond
	// clockApart is by how much clocks may differ without a word.
	clockApart = 0.5 // s
)

// clocks compares the members' clocks with the one here. A member tells the time as every server of HTTP
// does, in seconds; when a second begins shows where in it the clock is.
func (d *diagnosis) clocks(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, clockTime)
	defer cancel()
	var all sync.WaitGroup
	for _, m := range d.Members {
		if m.Error != "" {
			continue
		}
		all.Go(func() {
			if offset, give, err := d.clock(ctx, m.Endpoint); err == nil {
				seconds := offset.Seconds()
				m.Offset, m.OffsetError = &seconds, give.Seconds()
			}
		})
	}
	all.Wait()
	d.judgeClocks()
}

func (d *diagnosis) judgeClocks() {
	seen, apart := 0, 0
	for _, m := range d.Members {
		if m.Offset == nil {
			continue
		}
		seen++
		if math.Abs(*m.Offset) > clockApart+m.OffsetError {
			apart++
			d.find(warning, m.subject(), "let both keep time with NTP. Locks do not depend on it, but certificates, JWT tokens, the order of logs and AGE do",
				"its clock is %+.2f s off the one here", *m.Offset)
		}
	}
	switch {
	case seen == 0:
		d.find(note, "clocks", "", "cannot be compared: no member answers HTTP at its endpoint")
	case apart == 0:
		d.find(good, "clocks", "", "of %d members are within %.1f s of the one here", seen, clockApart)
	}
}

// clock returns how far the clock at an endpoint is ahead, and how exact that is.
func (d *diagnosis) clock(ctx context.Context, endpoint string) (offset, give time.Duration, err error) {
	url := withScheme(endpoint)
	if d.tls != nil {
		url = "https://" + strings.TrimPrefix(strings.TrimPrefix(url, "http://"), "https://")
	}
	transport := &http.Transport{TLSClientConfig: d.tls}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var before reading
	for {
		now, err := tell(ctx, client, url+"/version")
		if err != nil {
			return 0, 0, err
		}
		if !before.there.IsZero() && now.there.After(before.there) {
			half := now.here.Sub(before.here) / 2
			// A clock is read at any time of its request.
			return now.there.Sub(before.here.Add(half)), half + max(before.took, now.took)/2, nil
		}
		before = now
		select {
		case <-time.After(clockStep):
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		}
	}
}

// reading is what a clock shows, with the time here in the middle of the request.
type reading struct {
	there, here time.Time
	took        time.Duration
}

func tell(ctx context.Context, client *http.Client, url string) (r reading, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return r, err
	}
	begun := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return r, err
	}
	r.took = time.Since(begun)
	r.here = begun.Add(r.took / 2)
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close() // it is read
	if err != nil {
		return r, err
	}
	r.there, err = http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return r, errNoClock
	}
	return r, nil
}

func withScheme(endpoint string) string {
	if strings.Contains(endpoint, "://") {
		return endpoint
	}
	return "http://" + endpoint
}
