package main

import (
	"fmt"
	"time"

	"github.com/netresearch/go-cron"
)

// mostMissed is where the counting of missed times stops: a job for every second that
// nobody ran for a year has missed 31 million.
const mostMissed = 1000

// job is something to be done at certain times: a number of pages to be written.
type job struct {
	name     string
	pages    int
	schedule cron.ScheduleWithPrev
}

// jobs returns what there is to do: a report every second, and a mail every other.
func jobs() []job {
	return []job{newJob("report", "* * * * * *", 4), newJob("mail", "*/2 * * * * *", 1)}
}

// newJob reads a schedule of six fields, seconds first. It panics if the schedule is wrong,
// which is part of the program.
func newJob(name, spec string, pages int) job {
	parser := cron.MustNewParser(cron.Second | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	parsed, err := parser.Parse(spec)
	if err != nil {
		panic(fmt.Errorf("%s: schedule %q: %w", name, spec, err))
	}
	schedule, ok := parsed.(cron.ScheduleWithPrev)
	if !ok {
		panic(fmt.Errorf("%s: schedule %q does not say what was before", name, spec))
	}
	return job{name, pages, schedule}
}

// due returns the latest time at which the job should have run since the last, zero if
// there is none, and how many there were before it.
func (j job) due(last, now time.Time) (slot time.Time, missed int) {
	slot = j.schedule.Prev(now.Add(time.Second)) // which is in a second before this one
	if !slot.After(last) {
		return time.Time{}, 0
	}
	return slot, len(cron.BetweenWithLimit(j.schedule, last.Add(1), slot, mostMissed))
}
